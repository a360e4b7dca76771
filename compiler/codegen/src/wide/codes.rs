//! Which instruction computes what, in the encodings that vectors have.
//!
//! VEX for 128 and 256 bits without AVX-512; EVEX for 128, 256 and 512 bits with it. A form that
//! an encoding does not have is `INVALID`; the code that uses it asks for the encoding first.
//! Scalar instructions have one form of each.

use iced_x86::Code;

/// One instruction in every encoding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forms {
    /// 128 and 256 bits, registers 0–15.
    pub vex: [Code; 2],
    /// 128, 256 and 512 bits, registers 0–31.
    pub evex: [Code; 3],
    /// Bytes that an EVEX memory operand repeats through the vector; 0: it cannot.
    pub broadcast: usize,
}

macro_rules! forms {
    ($(
        $name:ident $broadcast:literal $vex128:ident $vex256:ident
        $evex128:ident $evex256:ident $evex512:ident;
    )*) => {$(
        pub(super) const $name: Forms = Forms {
            vex: [Code::$vex128, Code::$vex256],
            evex: [Code::$evex128, Code::$evex256, Code::$evex512],
            broadcast: $broadcast,
        };
    )*};
}

// Integer arithmetic.
forms! {
    PADDB 0
        VEX_Vpaddb_xmm_xmm_xmmm128 VEX_Vpaddb_ymm_ymm_ymmm256
        EVEX_Vpaddb_xmm_k1z_xmm_xmmm128 EVEX_Vpaddb_ymm_k1z_ymm_ymmm256
        EVEX_Vpaddb_zmm_k1z_zmm_zmmm512;
    PADDW 0
        VEX_Vpaddw_xmm_xmm_xmmm128 VEX_Vpaddw_ymm_ymm_ymmm256
        EVEX_Vpaddw_xmm_k1z_xmm_xmmm128 EVEX_Vpaddw_ymm_k1z_ymm_ymmm256
        EVEX_Vpaddw_zmm_k1z_zmm_zmmm512;
    PADDD 4
        VEX_Vpaddd_xmm_xmm_xmmm128 VEX_Vpaddd_ymm_ymm_ymmm256
        EVEX_Vpaddd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpaddd_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32;
    PADDQ 8
        VEX_Vpaddq_xmm_xmm_xmmm128 VEX_Vpaddq_ymm_ymm_ymmm256
        EVEX_Vpaddq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpaddq_ymm_k1z_ymm_ymmm256b64
        EVEX_Vpaddq_zmm_k1z_zmm_zmmm512b64;
    PSUBB 0
        VEX_Vpsubb_xmm_xmm_xmmm128 VEX_Vpsubb_ymm_ymm_ymmm256
        EVEX_Vpsubb_xmm_k1z_xmm_xmmm128 EVEX_Vpsubb_ymm_k1z_ymm_ymmm256
        EVEX_Vpsubb_zmm_k1z_zmm_zmmm512;
    PSUBSB 0
        VEX_Vpsubsb_xmm_xmm_xmmm128 VEX_Vpsubsb_ymm_ymm_ymmm256
        EVEX_Vpsubsb_xmm_k1z_xmm_xmmm128 EVEX_Vpsubsb_ymm_k1z_ymm_ymmm256
        EVEX_Vpsubsb_zmm_k1z_zmm_zmmm512;
    PSUBW 0
        VEX_Vpsubw_xmm_xmm_xmmm128 VEX_Vpsubw_ymm_ymm_ymmm256
        EVEX_Vpsubw_xmm_k1z_xmm_xmmm128 EVEX_Vpsubw_ymm_k1z_ymm_ymmm256
        EVEX_Vpsubw_zmm_k1z_zmm_zmmm512;
    PSUBD 4
        VEX_Vpsubd_xmm_xmm_xmmm128 VEX_Vpsubd_ymm_ymm_ymmm256
        EVEX_Vpsubd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpsubd_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32;
    PSUBQ 8
        VEX_Vpsubq_xmm_xmm_xmmm128 VEX_Vpsubq_ymm_ymm_ymmm256
        EVEX_Vpsubq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpsubq_ymm_k1z_ymm_ymmm256b64
        EVEX_Vpsubq_zmm_k1z_zmm_zmmm512b64;
    PMULLW 0
        VEX_Vpmullw_xmm_xmm_xmmm128 VEX_Vpmullw_ymm_ymm_ymmm256
        EVEX_Vpmullw_xmm_k1z_xmm_xmmm128 EVEX_Vpmullw_ymm_k1z_ymm_ymmm256
        EVEX_Vpmullw_zmm_k1z_zmm_zmmm512;
    PMULLD 4
        VEX_Vpmulld_xmm_xmm_xmmm128 VEX_Vpmulld_ymm_ymm_ymmm256
        EVEX_Vpmulld_xmm_k1z_xmm_xmmm128b32 EVEX_Vpmulld_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32;
    PMULLQ 8
        INVALID INVALID
        EVEX_Vpmullq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpmullq_ymm_k1z_ymm_ymmm256b64
        EVEX_Vpmullq_zmm_k1z_zmm_zmmm512b64;
    PMULUDQ 8
        VEX_Vpmuludq_xmm_xmm_xmmm128 VEX_Vpmuludq_ymm_ymm_ymmm256
        EVEX_Vpmuludq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpmuludq_ymm_k1z_ymm_ymmm256b64
        EVEX_Vpmuludq_zmm_k1z_zmm_zmmm512b64;
    PAND 4
        VEX_Vpand_xmm_xmm_xmmm128 VEX_Vpand_ymm_ymm_ymmm256
        EVEX_Vpandd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpandd_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32;
    POR 4
        VEX_Vpor_xmm_xmm_xmmm128 VEX_Vpor_ymm_ymm_ymmm256
        EVEX_Vpord_xmm_k1z_xmm_xmmm128b32 EVEX_Vpord_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpord_zmm_k1z_zmm_zmmm512b32;
    PXOR 4
        VEX_Vpxor_xmm_xmm_xmmm128 VEX_Vpxor_ymm_ymm_ymmm256
        EVEX_Vpxord_xmm_k1z_xmm_xmmm128b32 EVEX_Vpxord_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32;
    PMINSB 0
        VEX_Vpminsb_xmm_xmm_xmmm128 VEX_Vpminsb_ymm_ymm_ymmm256
        EVEX_Vpminsb_xmm_k1z_xmm_xmmm128 EVEX_Vpminsb_ymm_k1z_ymm_ymmm256
        EVEX_Vpminsb_zmm_k1z_zmm_zmmm512;
    PMINSW 0
        VEX_Vpminsw_xmm_xmm_xmmm128 VEX_Vpminsw_ymm_ymm_ymmm256
        EVEX_Vpminsw_xmm_k1z_xmm_xmmm128 EVEX_Vpminsw_ymm_k1z_ymm_ymmm256
        EVEX_Vpminsw_zmm_k1z_zmm_zmmm512;
    PMINSD 4
        VEX_Vpminsd_xmm_xmm_xmmm128 VEX_Vpminsd_ymm_ymm_ymmm256
        EVEX_Vpminsd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpminsd_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32;
    PMINSQ 8
        INVALID INVALID
        EVEX_Vpminsq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpminsq_ymm_k1z_ymm_ymmm256b64
        EVEX_Vpminsq_zmm_k1z_zmm_zmmm512b64;
    PMAXSB 0
        VEX_Vpmaxsb_xmm_xmm_xmmm128 VEX_Vpmaxsb_ymm_ymm_ymmm256
        EVEX_Vpmaxsb_xmm_k1z_xmm_xmmm128 EVEX_Vpmaxsb_ymm_k1z_ymm_ymmm256
        EVEX_Vpmaxsb_zmm_k1z_zmm_zmmm512;
    PMAXSW 0
        VEX_Vpmaxsw_xmm_xmm_xmmm128 VEX_Vpmaxsw_ymm_ymm_ymmm256
        EVEX_Vpmaxsw_xmm_k1z_xmm_xmmm128 EVEX_Vpmaxsw_ymm_k1z_ymm_ymmm256
        EVEX_Vpmaxsw_zmm_k1z_zmm_zmmm512;
    PMAXSD 4
        VEX_Vpmaxsd_xmm_xmm_xmmm128 VEX_Vpmaxsd_ymm_ymm_ymmm256
        EVEX_Vpmaxsd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpmaxsd_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32;
    PMAXSQ 8
        INVALID INVALID
        EVEX_Vpmaxsq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpmaxsq_ymm_k1z_ymm_ymmm256b64
        EVEX_Vpmaxsq_zmm_k1z_zmm_zmmm512b64;
    PMINUB 0
        VEX_Vpminub_xmm_xmm_xmmm128 VEX_Vpminub_ymm_ymm_ymmm256
        EVEX_Vpminub_xmm_k1z_xmm_xmmm128 EVEX_Vpminub_ymm_k1z_ymm_ymmm256
        EVEX_Vpminub_zmm_k1z_zmm_zmmm512;
    PMINUW 0
        VEX_Vpminuw_xmm_xmm_xmmm128 VEX_Vpminuw_ymm_ymm_ymmm256
        EVEX_Vpminuw_xmm_k1z_xmm_xmmm128 EVEX_Vpminuw_ymm_k1z_ymm_ymmm256
        EVEX_Vpminuw_zmm_k1z_zmm_zmmm512;
    PMINUD 4
        VEX_Vpminud_xmm_xmm_xmmm128 VEX_Vpminud_ymm_ymm_ymmm256
        EVEX_Vpminud_xmm_k1z_xmm_xmmm128b32 EVEX_Vpminud_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpminud_zmm_k1z_zmm_zmmm512b32;
    PMINUQ 8
        INVALID INVALID
        EVEX_Vpminuq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpminuq_ymm_k1z_ymm_ymmm256b64
        EVEX_Vpminuq_zmm_k1z_zmm_zmmm512b64;
    PMAXUB 0
        VEX_Vpmaxub_xmm_xmm_xmmm128 VEX_Vpmaxub_ymm_ymm_ymmm256
        EVEX_Vpmaxub_xmm_k1z_xmm_xmmm128 EVEX_Vpmaxub_ymm_k1z_ymm_ymmm256
        EVEX_Vpmaxub_zmm_k1z_zmm_zmmm512;
    PMAXUW 0
        VEX_Vpmaxuw_xmm_xmm_xmmm128 VEX_Vpmaxuw_ymm_ymm_ymmm256
        EVEX_Vpmaxuw_xmm_k1z_xmm_xmmm128 EVEX_Vpmaxuw_ymm_k1z_ymm_ymmm256
        EVEX_Vpmaxuw_zmm_k1z_zmm_zmmm512;
    PMAXUD 4
        VEX_Vpmaxud_xmm_xmm_xmmm128 VEX_Vpmaxud_ymm_ymm_ymmm256
        EVEX_Vpmaxud_xmm_k1z_xmm_xmmm128b32 EVEX_Vpmaxud_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpmaxud_zmm_k1z_zmm_zmmm512b32;
    PMAXUQ 8
        INVALID INVALID
        EVEX_Vpmaxuq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpmaxuq_ymm_k1z_ymm_ymmm256b64
        EVEX_Vpmaxuq_zmm_k1z_zmm_zmmm512b64;
    PSLLW 0
        VEX_Vpsllw_xmm_xmm_imm8 VEX_Vpsllw_ymm_ymm_imm8
        EVEX_Vpsllw_xmm_k1z_xmmm128_imm8 EVEX_Vpsllw_ymm_k1z_ymmm256_imm8
        EVEX_Vpsllw_zmm_k1z_zmmm512_imm8;
    PSLLD 4
        VEX_Vpslld_xmm_xmm_imm8 VEX_Vpslld_ymm_ymm_imm8
        EVEX_Vpslld_xmm_k1z_xmmm128b32_imm8 EVEX_Vpslld_ymm_k1z_ymmm256b32_imm8
        EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8;
    PSLLQ 8
        VEX_Vpsllq_xmm_xmm_imm8 VEX_Vpsllq_ymm_ymm_imm8
        EVEX_Vpsllq_xmm_k1z_xmmm128b64_imm8 EVEX_Vpsllq_ymm_k1z_ymmm256b64_imm8
        EVEX_Vpsllq_zmm_k1z_zmmm512b64_imm8;
    PSRLW 0
        VEX_Vpsrlw_xmm_xmm_imm8 VEX_Vpsrlw_ymm_ymm_imm8
        EVEX_Vpsrlw_xmm_k1z_xmmm128_imm8 EVEX_Vpsrlw_ymm_k1z_ymmm256_imm8
        EVEX_Vpsrlw_zmm_k1z_zmmm512_imm8;
    PSRLD 4
        VEX_Vpsrld_xmm_xmm_imm8 VEX_Vpsrld_ymm_ymm_imm8
        EVEX_Vpsrld_xmm_k1z_xmmm128b32_imm8 EVEX_Vpsrld_ymm_k1z_ymmm256b32_imm8
        EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8;
    PSRLQ 8
        VEX_Vpsrlq_xmm_xmm_imm8 VEX_Vpsrlq_ymm_ymm_imm8
        EVEX_Vpsrlq_xmm_k1z_xmmm128b64_imm8 EVEX_Vpsrlq_ymm_k1z_ymmm256b64_imm8
        EVEX_Vpsrlq_zmm_k1z_zmmm512b64_imm8;
    PSRAW 0
        VEX_Vpsraw_xmm_xmm_imm8 VEX_Vpsraw_ymm_ymm_imm8
        EVEX_Vpsraw_xmm_k1z_xmmm128_imm8 EVEX_Vpsraw_ymm_k1z_ymmm256_imm8
        EVEX_Vpsraw_zmm_k1z_zmmm512_imm8;
    PSRAD 4
        VEX_Vpsrad_xmm_xmm_imm8 VEX_Vpsrad_ymm_ymm_imm8
        EVEX_Vpsrad_xmm_k1z_xmmm128b32_imm8 EVEX_Vpsrad_ymm_k1z_ymmm256b32_imm8
        EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8;
    PSRAQ 8
        INVALID INVALID
        EVEX_Vpsraq_xmm_k1z_xmmm128b64_imm8 EVEX_Vpsraq_ymm_k1z_ymmm256b64_imm8
        EVEX_Vpsraq_zmm_k1z_zmmm512b64_imm8;
}

// Comparisons and masks.
forms! {
    PCMPEQB 0
        VEX_Vpcmpeqb_xmm_xmm_xmmm128 VEX_Vpcmpeqb_ymm_ymm_ymmm256
        INVALID INVALID INVALID;
    PCMPGTB 0
        VEX_Vpcmpgtb_xmm_xmm_xmmm128 VEX_Vpcmpgtb_ymm_ymm_ymmm256
        INVALID INVALID INVALID;
    PCMPEQW 0
        VEX_Vpcmpeqw_xmm_xmm_xmmm128 VEX_Vpcmpeqw_ymm_ymm_ymmm256
        INVALID INVALID INVALID;
    PCMPGTW 0
        VEX_Vpcmpgtw_xmm_xmm_xmmm128 VEX_Vpcmpgtw_ymm_ymm_ymmm256
        INVALID INVALID INVALID;
    PCMPEQD 0
        VEX_Vpcmpeqd_xmm_xmm_xmmm128 VEX_Vpcmpeqd_ymm_ymm_ymmm256
        INVALID INVALID INVALID;
    PCMPGTD 0
        VEX_Vpcmpgtd_xmm_xmm_xmmm128 VEX_Vpcmpgtd_ymm_ymm_ymmm256
        INVALID INVALID INVALID;
    PCMPEQQ 0
        VEX_Vpcmpeqq_xmm_xmm_xmmm128 VEX_Vpcmpeqq_ymm_ymm_ymmm256
        INVALID INVALID INVALID;
    PCMPGTQ 0
        VEX_Vpcmpgtq_xmm_xmm_xmmm128 VEX_Vpcmpgtq_ymm_ymm_ymmm256
        INVALID INVALID INVALID;
    PCMPB 0
        INVALID INVALID
        EVEX_Vpcmpb_kr_k1_xmm_xmmm128_imm8 EVEX_Vpcmpb_kr_k1_ymm_ymmm256_imm8
        EVEX_Vpcmpb_kr_k1_zmm_zmmm512_imm8;
    PCMPUB 0
        INVALID INVALID
        EVEX_Vpcmpub_kr_k1_xmm_xmmm128_imm8 EVEX_Vpcmpub_kr_k1_ymm_ymmm256_imm8
        EVEX_Vpcmpub_kr_k1_zmm_zmmm512_imm8;
    PCMPW 0
        INVALID INVALID
        EVEX_Vpcmpw_kr_k1_xmm_xmmm128_imm8 EVEX_Vpcmpw_kr_k1_ymm_ymmm256_imm8
        EVEX_Vpcmpw_kr_k1_zmm_zmmm512_imm8;
    PCMPUW 0
        INVALID INVALID
        EVEX_Vpcmpuw_kr_k1_xmm_xmmm128_imm8 EVEX_Vpcmpuw_kr_k1_ymm_ymmm256_imm8
        EVEX_Vpcmpuw_kr_k1_zmm_zmmm512_imm8;
    PCMPD 4
        INVALID INVALID
        EVEX_Vpcmpd_kr_k1_xmm_xmmm128b32_imm8 EVEX_Vpcmpd_kr_k1_ymm_ymmm256b32_imm8
        EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8;
    PCMPUD 4
        INVALID INVALID
        EVEX_Vpcmpud_kr_k1_xmm_xmmm128b32_imm8 EVEX_Vpcmpud_kr_k1_ymm_ymmm256b32_imm8
        EVEX_Vpcmpud_kr_k1_zmm_zmmm512b32_imm8;
    PCMPQ 8
        INVALID INVALID
        EVEX_Vpcmpq_kr_k1_xmm_xmmm128b64_imm8 EVEX_Vpcmpq_kr_k1_ymm_ymmm256b64_imm8
        EVEX_Vpcmpq_kr_k1_zmm_zmmm512b64_imm8;
    PCMPUQ 8
        INVALID INVALID
        EVEX_Vpcmpuq_kr_k1_xmm_xmmm128b64_imm8 EVEX_Vpcmpuq_kr_k1_ymm_ymmm256b64_imm8
        EVEX_Vpcmpuq_kr_k1_zmm_zmmm512b64_imm8;
    CMPPS 4
        VEX_Vcmpps_xmm_xmm_xmmm128_imm8 VEX_Vcmpps_ymm_ymm_ymmm256_imm8
        EVEX_Vcmpps_kr_k1_xmm_xmmm128b32_imm8 EVEX_Vcmpps_kr_k1_ymm_ymmm256b32_imm8
        EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
    CMPPD 8
        VEX_Vcmppd_xmm_xmm_xmmm128_imm8 VEX_Vcmppd_ymm_ymm_ymmm256_imm8
        EVEX_Vcmppd_kr_k1_xmm_xmmm128b64_imm8 EVEX_Vcmppd_kr_k1_ymm_ymmm256b64_imm8
        EVEX_Vcmppd_kr_k1_zmm_zmmm512b64_imm8_sae;
    PMOVM2B 0
        INVALID INVALID
        EVEX_Vpmovm2b_xmm_kr EVEX_Vpmovm2b_ymm_kr EVEX_Vpmovm2b_zmm_kr;
    PMOVM2W 0
        INVALID INVALID
        EVEX_Vpmovm2w_xmm_kr EVEX_Vpmovm2w_ymm_kr EVEX_Vpmovm2w_zmm_kr;
    PMOVM2D 0
        INVALID INVALID
        EVEX_Vpmovm2d_xmm_kr EVEX_Vpmovm2d_ymm_kr EVEX_Vpmovm2d_zmm_kr;
    PMOVM2Q 0
        INVALID INVALID
        EVEX_Vpmovm2q_xmm_kr EVEX_Vpmovm2q_ymm_kr EVEX_Vpmovm2q_zmm_kr;
    PBLENDMB 0
        INVALID INVALID
        EVEX_Vpblendmb_xmm_k1z_xmm_xmmm128 EVEX_Vpblendmb_ymm_k1z_ymm_ymmm256
        EVEX_Vpblendmb_zmm_k1z_zmm_zmmm512;
    PBLENDMW 0
        INVALID INVALID
        EVEX_Vpblendmw_xmm_k1z_xmm_xmmm128 EVEX_Vpblendmw_ymm_k1z_ymm_ymmm256
        EVEX_Vpblendmw_zmm_k1z_zmm_zmmm512;
    PBLENDMD 4
        INVALID INVALID
        EVEX_Vpblendmd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpblendmd_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpblendmd_zmm_k1z_zmm_zmmm512b32;
    PBLENDMQ 8
        INVALID INVALID
        EVEX_Vpblendmq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpblendmq_ymm_k1z_ymm_ymmm256b64
        EVEX_Vpblendmq_zmm_k1z_zmm_zmmm512b64;
    PTERNLOGD 4
        INVALID INVALID
        EVEX_Vpternlogd_xmm_k1z_xmm_xmmm128b32_imm8 EVEX_Vpternlogd_ymm_k1z_ymm_ymmm256b32_imm8
        EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8;
}

// Floats; then the scalar ones.
forms! {
    ADDPS 4
        VEX_Vaddps_xmm_xmm_xmmm128 VEX_Vaddps_ymm_ymm_ymmm256
        EVEX_Vaddps_xmm_k1z_xmm_xmmm128b32 EVEX_Vaddps_ymm_k1z_ymm_ymmm256b32
        EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er;
    ADDPD 8
        VEX_Vaddpd_xmm_xmm_xmmm128 VEX_Vaddpd_ymm_ymm_ymmm256
        EVEX_Vaddpd_xmm_k1z_xmm_xmmm128b64 EVEX_Vaddpd_ymm_k1z_ymm_ymmm256b64
        EVEX_Vaddpd_zmm_k1z_zmm_zmmm512b64_er;
    SUBPS 4
        VEX_Vsubps_xmm_xmm_xmmm128 VEX_Vsubps_ymm_ymm_ymmm256
        EVEX_Vsubps_xmm_k1z_xmm_xmmm128b32 EVEX_Vsubps_ymm_k1z_ymm_ymmm256b32
        EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er;
    SUBPD 8
        VEX_Vsubpd_xmm_xmm_xmmm128 VEX_Vsubpd_ymm_ymm_ymmm256
        EVEX_Vsubpd_xmm_k1z_xmm_xmmm128b64 EVEX_Vsubpd_ymm_k1z_ymm_ymmm256b64
        EVEX_Vsubpd_zmm_k1z_zmm_zmmm512b64_er;
    MULPS 4
        VEX_Vmulps_xmm_xmm_xmmm128 VEX_Vmulps_ymm_ymm_ymmm256
        EVEX_Vmulps_xmm_k1z_xmm_xmmm128b32 EVEX_Vmulps_ymm_k1z_ymm_ymmm256b32
        EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er;
    MULPD 8
        VEX_Vmulpd_xmm_xmm_xmmm128 VEX_Vmulpd_ymm_ymm_ymmm256
        EVEX_Vmulpd_xmm_k1z_xmm_xmmm128b64 EVEX_Vmulpd_ymm_k1z_ymm_ymmm256b64
        EVEX_Vmulpd_zmm_k1z_zmm_zmmm512b64_er;
    DIVPS 4
        VEX_Vdivps_xmm_xmm_xmmm128 VEX_Vdivps_ymm_ymm_ymmm256
        EVEX_Vdivps_xmm_k1z_xmm_xmmm128b32 EVEX_Vdivps_ymm_k1z_ymm_ymmm256b32
        EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er;
    DIVPD 8
        VEX_Vdivpd_xmm_xmm_xmmm128 VEX_Vdivpd_ymm_ymm_ymmm256
        EVEX_Vdivpd_xmm_k1z_xmm_xmmm128b64 EVEX_Vdivpd_ymm_k1z_ymm_ymmm256b64
        EVEX_Vdivpd_zmm_k1z_zmm_zmmm512b64_er;
    FMADD132PS 4
        VEX_Vfmadd132ps_xmm_xmm_xmmm128 VEX_Vfmadd132ps_ymm_ymm_ymmm256
        EVEX_Vfmadd132ps_xmm_k1z_xmm_xmmm128b32 EVEX_Vfmadd132ps_ymm_k1z_ymm_ymmm256b32
        EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er;
    FMADD132PD 8
        VEX_Vfmadd132pd_xmm_xmm_xmmm128 VEX_Vfmadd132pd_ymm_ymm_ymmm256
        EVEX_Vfmadd132pd_xmm_k1z_xmm_xmmm128b64 EVEX_Vfmadd132pd_ymm_k1z_ymm_ymmm256b64
        EVEX_Vfmadd132pd_zmm_k1z_zmm_zmmm512b64_er;
    FMADD213PS 4
        VEX_Vfmadd213ps_xmm_xmm_xmmm128 VEX_Vfmadd213ps_ymm_ymm_ymmm256
        EVEX_Vfmadd213ps_xmm_k1z_xmm_xmmm128b32 EVEX_Vfmadd213ps_ymm_k1z_ymm_ymmm256b32
        EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er;
    FMADD213PD 8
        VEX_Vfmadd213pd_xmm_xmm_xmmm128 VEX_Vfmadd213pd_ymm_ymm_ymmm256
        EVEX_Vfmadd213pd_xmm_k1z_xmm_xmmm128b64 EVEX_Vfmadd213pd_ymm_k1z_ymm_ymmm256b64
        EVEX_Vfmadd213pd_zmm_k1z_zmm_zmmm512b64_er;
    FMADD231PS 4
        VEX_Vfmadd231ps_xmm_xmm_xmmm128 VEX_Vfmadd231ps_ymm_ymm_ymmm256
        EVEX_Vfmadd231ps_xmm_k1z_xmm_xmmm128b32 EVEX_Vfmadd231ps_ymm_k1z_ymm_ymmm256b32
        EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er;
    FMADD231PD 8
        VEX_Vfmadd231pd_xmm_xmm_xmmm128 VEX_Vfmadd231pd_ymm_ymm_ymmm256
        EVEX_Vfmadd231pd_xmm_k1z_xmm_xmmm128b64 EVEX_Vfmadd231pd_ymm_k1z_ymm_ymmm256b64
        EVEX_Vfmadd231pd_zmm_k1z_zmm_zmmm512b64_er;
    CVTDQ2PS 4
        VEX_Vcvtdq2ps_xmm_xmmm128 VEX_Vcvtdq2ps_ymm_ymmm256
        EVEX_Vcvtdq2ps_xmm_k1z_xmmm128b32 EVEX_Vcvtdq2ps_ymm_k1z_ymmm256b32
        EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er;
    CVTTPS2DQ 4
        VEX_Vcvttps2dq_xmm_xmmm128 VEX_Vcvttps2dq_ymm_ymmm256
        EVEX_Vcvttps2dq_xmm_k1z_xmmm128b32 EVEX_Vcvttps2dq_ymm_k1z_ymmm256b32
        EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae;
    SQRTPS 4
        VEX_Vsqrtps_xmm_xmmm128 VEX_Vsqrtps_ymm_ymmm256
        EVEX_Vsqrtps_xmm_k1z_xmmm128b32 EVEX_Vsqrtps_ymm_k1z_ymmm256b32
        EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er;
    SQRTPD 8
        VEX_Vsqrtpd_xmm_xmmm128 VEX_Vsqrtpd_ymm_ymmm256
        EVEX_Vsqrtpd_xmm_k1z_xmmm128b64 EVEX_Vsqrtpd_ymm_k1z_ymmm256b64
        EVEX_Vsqrtpd_zmm_k1z_zmmm512b64_er;
    SQRTSS 0
        VEX_Vsqrtss_xmm_xmm_xmmm32 VEX_Vsqrtss_xmm_xmm_xmmm32
        EVEX_Vsqrtss_xmm_k1z_xmm_xmmm32_er EVEX_Vsqrtss_xmm_k1z_xmm_xmmm32_er
        EVEX_Vsqrtss_xmm_k1z_xmm_xmmm32_er;
    SQRTSD 0
        VEX_Vsqrtsd_xmm_xmm_xmmm64 VEX_Vsqrtsd_xmm_xmm_xmmm64
        EVEX_Vsqrtsd_xmm_k1z_xmm_xmmm64_er EVEX_Vsqrtsd_xmm_k1z_xmm_xmmm64_er
        EVEX_Vsqrtsd_xmm_k1z_xmm_xmmm64_er;
    CVTDQ2PD 0
        VEX_Vcvtdq2pd_xmm_xmmm64 VEX_Vcvtdq2pd_ymm_xmmm128
        EVEX_Vcvtdq2pd_xmm_k1z_xmmm64b32 EVEX_Vcvtdq2pd_ymm_k1z_xmmm128b32
        EVEX_Vcvtdq2pd_zmm_k1z_ymmm256b32_er;
    CVTQQ2PD 0
        INVALID INVALID
        EVEX_Vcvtqq2pd_xmm_k1z_xmmm128b64 EVEX_Vcvtqq2pd_ymm_k1z_ymmm256b64
        EVEX_Vcvtqq2pd_zmm_k1z_zmmm512b64_er;
    ADDSS 0
        VEX_Vaddss_xmm_xmm_xmmm32 VEX_Vaddss_xmm_xmm_xmmm32
        EVEX_Vaddss_xmm_k1z_xmm_xmmm32_er EVEX_Vaddss_xmm_k1z_xmm_xmmm32_er
        EVEX_Vaddss_xmm_k1z_xmm_xmmm32_er;
    ADDSD 0
        VEX_Vaddsd_xmm_xmm_xmmm64 VEX_Vaddsd_xmm_xmm_xmmm64
        EVEX_Vaddsd_xmm_k1z_xmm_xmmm64_er EVEX_Vaddsd_xmm_k1z_xmm_xmmm64_er
        EVEX_Vaddsd_xmm_k1z_xmm_xmmm64_er;
    SUBSS 0
        VEX_Vsubss_xmm_xmm_xmmm32 VEX_Vsubss_xmm_xmm_xmmm32
        EVEX_Vsubss_xmm_k1z_xmm_xmmm32_er EVEX_Vsubss_xmm_k1z_xmm_xmmm32_er
        EVEX_Vsubss_xmm_k1z_xmm_xmmm32_er;
    SUBSD 0
        VEX_Vsubsd_xmm_xmm_xmmm64 VEX_Vsubsd_xmm_xmm_xmmm64
        EVEX_Vsubsd_xmm_k1z_xmm_xmmm64_er EVEX_Vsubsd_xmm_k1z_xmm_xmmm64_er
        EVEX_Vsubsd_xmm_k1z_xmm_xmmm64_er;
    MULSS 0
        VEX_Vmulss_xmm_xmm_xmmm32 VEX_Vmulss_xmm_xmm_xmmm32
        EVEX_Vmulss_xmm_k1z_xmm_xmmm32_er EVEX_Vmulss_xmm_k1z_xmm_xmmm32_er
        EVEX_Vmulss_xmm_k1z_xmm_xmmm32_er;
    MULSD 0
        VEX_Vmulsd_xmm_xmm_xmmm64 VEX_Vmulsd_xmm_xmm_xmmm64
        EVEX_Vmulsd_xmm_k1z_xmm_xmmm64_er EVEX_Vmulsd_xmm_k1z_xmm_xmmm64_er
        EVEX_Vmulsd_xmm_k1z_xmm_xmmm64_er;
    DIVSS 0
        VEX_Vdivss_xmm_xmm_xmmm32 VEX_Vdivss_xmm_xmm_xmmm32
        EVEX_Vdivss_xmm_k1z_xmm_xmmm32_er EVEX_Vdivss_xmm_k1z_xmm_xmmm32_er
        EVEX_Vdivss_xmm_k1z_xmm_xmmm32_er;
    DIVSD 0
        VEX_Vdivsd_xmm_xmm_xmmm64 VEX_Vdivsd_xmm_xmm_xmmm64
        EVEX_Vdivsd_xmm_k1z_xmm_xmmm64_er EVEX_Vdivsd_xmm_k1z_xmm_xmmm64_er
        EVEX_Vdivsd_xmm_k1z_xmm_xmmm64_er;
    FMADD132SS 0
        VEX_Vfmadd132ss_xmm_xmm_xmmm32 VEX_Vfmadd132ss_xmm_xmm_xmmm32
        EVEX_Vfmadd132ss_xmm_k1z_xmm_xmmm32_er EVEX_Vfmadd132ss_xmm_k1z_xmm_xmmm32_er
        EVEX_Vfmadd132ss_xmm_k1z_xmm_xmmm32_er;
    FMADD132SD 0
        VEX_Vfmadd132sd_xmm_xmm_xmmm64 VEX_Vfmadd132sd_xmm_xmm_xmmm64
        EVEX_Vfmadd132sd_xmm_k1z_xmm_xmmm64_er EVEX_Vfmadd132sd_xmm_k1z_xmm_xmmm64_er
        EVEX_Vfmadd132sd_xmm_k1z_xmm_xmmm64_er;
    FMADD213SS 0
        VEX_Vfmadd213ss_xmm_xmm_xmmm32 VEX_Vfmadd213ss_xmm_xmm_xmmm32
        EVEX_Vfmadd213ss_xmm_k1z_xmm_xmmm32_er EVEX_Vfmadd213ss_xmm_k1z_xmm_xmmm32_er
        EVEX_Vfmadd213ss_xmm_k1z_xmm_xmmm32_er;
    FMADD213SD 0
        VEX_Vfmadd213sd_xmm_xmm_xmmm64 VEX_Vfmadd213sd_xmm_xmm_xmmm64
        EVEX_Vfmadd213sd_xmm_k1z_xmm_xmmm64_er EVEX_Vfmadd213sd_xmm_k1z_xmm_xmmm64_er
        EVEX_Vfmadd213sd_xmm_k1z_xmm_xmmm64_er;
    FMADD231SS 0
        VEX_Vfmadd231ss_xmm_xmm_xmmm32 VEX_Vfmadd231ss_xmm_xmm_xmmm32
        EVEX_Vfmadd231ss_xmm_k1z_xmm_xmmm32_er EVEX_Vfmadd231ss_xmm_k1z_xmm_xmmm32_er
        EVEX_Vfmadd231ss_xmm_k1z_xmm_xmmm32_er;
    FMADD231SD 0
        VEX_Vfmadd231sd_xmm_xmm_xmmm64 VEX_Vfmadd231sd_xmm_xmm_xmmm64
        EVEX_Vfmadd231sd_xmm_k1z_xmm_xmmm64_er EVEX_Vfmadd231sd_xmm_k1z_xmm_xmmm64_er
        EVEX_Vfmadd231sd_xmm_k1z_xmm_xmmm64_er;
    CVTSS2SD 0
        VEX_Vcvtss2sd_xmm_xmm_xmmm32 VEX_Vcvtss2sd_xmm_xmm_xmmm32
        EVEX_Vcvtss2sd_xmm_k1z_xmm_xmmm32_sae EVEX_Vcvtss2sd_xmm_k1z_xmm_xmmm32_sae
        EVEX_Vcvtss2sd_xmm_k1z_xmm_xmmm32_sae;
    CVTSD2SS 0
        VEX_Vcvtsd2ss_xmm_xmm_xmmm64 VEX_Vcvtsd2ss_xmm_xmm_xmmm64
        EVEX_Vcvtsd2ss_xmm_k1z_xmm_xmmm64_er EVEX_Vcvtsd2ss_xmm_k1z_xmm_xmmm64_er
        EVEX_Vcvtsd2ss_xmm_k1z_xmm_xmmm64_er;
    UCOMISS 0
        VEX_Vucomiss_xmm_xmmm32 VEX_Vucomiss_xmm_xmmm32
        EVEX_Vucomiss_xmm_xmmm32_sae EVEX_Vucomiss_xmm_xmmm32_sae EVEX_Vucomiss_xmm_xmmm32_sae;
    UCOMISD 0
        VEX_Vucomisd_xmm_xmmm64 VEX_Vucomisd_xmm_xmmm64
        EVEX_Vucomisd_xmm_xmmm64_sae EVEX_Vucomisd_xmm_xmmm64_sae EVEX_Vucomisd_xmm_xmmm64_sae;
    CVTTSS2SI32 0
        VEX_Vcvttss2si_r32_xmmm32 VEX_Vcvttss2si_r32_xmmm32
        EVEX_Vcvttss2si_r32_xmmm32_sae EVEX_Vcvttss2si_r32_xmmm32_sae
        EVEX_Vcvttss2si_r32_xmmm32_sae;
    CVTSI2SS32 0
        VEX_Vcvtsi2ss_xmm_xmm_rm32 VEX_Vcvtsi2ss_xmm_xmm_rm32
        EVEX_Vcvtsi2ss_xmm_xmm_rm32_er EVEX_Vcvtsi2ss_xmm_xmm_rm32_er
        EVEX_Vcvtsi2ss_xmm_xmm_rm32_er;
    CVTTSS2SI64 0
        VEX_Vcvttss2si_r64_xmmm32 VEX_Vcvttss2si_r64_xmmm32
        EVEX_Vcvttss2si_r64_xmmm32_sae EVEX_Vcvttss2si_r64_xmmm32_sae
        EVEX_Vcvttss2si_r64_xmmm32_sae;
    CVTSI2SS64 0
        VEX_Vcvtsi2ss_xmm_xmm_rm64 VEX_Vcvtsi2ss_xmm_xmm_rm64
        EVEX_Vcvtsi2ss_xmm_xmm_rm64_er EVEX_Vcvtsi2ss_xmm_xmm_rm64_er
        EVEX_Vcvtsi2ss_xmm_xmm_rm64_er;
    CVTTSD2SI32 0
        VEX_Vcvttsd2si_r32_xmmm64 VEX_Vcvttsd2si_r32_xmmm64
        EVEX_Vcvttsd2si_r32_xmmm64_sae EVEX_Vcvttsd2si_r32_xmmm64_sae
        EVEX_Vcvttsd2si_r32_xmmm64_sae;
    CVTSI2SD32 0
        VEX_Vcvtsi2sd_xmm_xmm_rm32 VEX_Vcvtsi2sd_xmm_xmm_rm32
        EVEX_Vcvtsi2sd_xmm_xmm_rm32_er EVEX_Vcvtsi2sd_xmm_xmm_rm32_er
        EVEX_Vcvtsi2sd_xmm_xmm_rm32_er;
    CVTTSD2SI64 0
        VEX_Vcvttsd2si_r64_xmmm64 VEX_Vcvttsd2si_r64_xmmm64
        EVEX_Vcvttsd2si_r64_xmmm64_sae EVEX_Vcvttsd2si_r64_xmmm64_sae
        EVEX_Vcvttsd2si_r64_xmmm64_sae;
    CVTSI2SD64 0
        VEX_Vcvtsi2sd_xmm_xmm_rm64 VEX_Vcvtsi2sd_xmm_xmm_rm64
        EVEX_Vcvtsi2sd_xmm_xmm_rm64_er EVEX_Vcvtsi2sd_xmm_xmm_rm64_er
        EVEX_Vcvtsi2sd_xmm_xmm_rm64_er;
    XORPS_XMM 0
        VEX_Vpxor_xmm_xmm_xmmm128 VEX_Vpxor_xmm_xmm_xmmm128
        EVEX_Vpxord_xmm_k1z_xmm_xmmm128b32 EVEX_Vpxord_xmm_k1z_xmm_xmmm128b32
        EVEX_Vpxord_xmm_k1z_xmm_xmmm128b32;
}

// Dot products.
forms! {
    PMADDWD 0
        VEX_Vpmaddwd_xmm_xmm_xmmm128 VEX_Vpmaddwd_ymm_ymm_ymmm256
        EVEX_Vpmaddwd_xmm_k1z_xmm_xmmm128 EVEX_Vpmaddwd_ymm_k1z_ymm_ymmm256
        EVEX_Vpmaddwd_zmm_k1z_zmm_zmmm512;
    PMADDUBSW 0
        VEX_Vpmaddubsw_xmm_xmm_xmmm128 VEX_Vpmaddubsw_ymm_ymm_ymmm256
        EVEX_Vpmaddubsw_xmm_k1z_xmm_xmmm128 EVEX_Vpmaddubsw_ymm_k1z_ymm_ymmm256
        EVEX_Vpmaddubsw_zmm_k1z_zmm_zmmm512;
    PDPBUSD 4
        VEX_Vpdpbusd_xmm_xmm_xmmm128 VEX_Vpdpbusd_ymm_ymm_ymmm256
        EVEX_Vpdpbusd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpdpbusd_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32;
    PDPWSSD 4
        VEX_Vpdpwssd_xmm_xmm_xmmm128 VEX_Vpdpwssd_ymm_ymm_ymmm256
        EVEX_Vpdpwssd_xmm_k1z_xmm_xmmm128b32 EVEX_Vpdpwssd_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpdpwssd_zmm_k1z_zmm_zmmm512b32;
}

// Shuffles inside 128 bits.
forms! {
    PACKSSWB 0
        VEX_Vpacksswb_xmm_xmm_xmmm128 VEX_Vpacksswb_ymm_ymm_ymmm256
        EVEX_Vpacksswb_xmm_k1z_xmm_xmmm128 EVEX_Vpacksswb_ymm_k1z_ymm_ymmm256
        EVEX_Vpacksswb_zmm_k1z_zmm_zmmm512;
    PACKSSDW 4
        VEX_Vpackssdw_xmm_xmm_xmmm128 VEX_Vpackssdw_ymm_ymm_ymmm256
        EVEX_Vpackssdw_xmm_k1z_xmm_xmmm128b32 EVEX_Vpackssdw_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpackssdw_zmm_k1z_zmm_zmmm512b32;
    PACKUSWB 0
        VEX_Vpackuswb_xmm_xmm_xmmm128 VEX_Vpackuswb_ymm_ymm_ymmm256
        EVEX_Vpackuswb_xmm_k1z_xmm_xmmm128 EVEX_Vpackuswb_ymm_k1z_ymm_ymmm256
        EVEX_Vpackuswb_zmm_k1z_zmm_zmmm512;
    PACKUSDW 4
        VEX_Vpackusdw_xmm_xmm_xmmm128 VEX_Vpackusdw_ymm_ymm_ymmm256
        EVEX_Vpackusdw_xmm_k1z_xmm_xmmm128b32 EVEX_Vpackusdw_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpackusdw_zmm_k1z_zmm_zmmm512b32;
    PUNPCKLBW 0
        VEX_Vpunpcklbw_xmm_xmm_xmmm128 VEX_Vpunpcklbw_ymm_ymm_ymmm256
        EVEX_Vpunpcklbw_xmm_k1z_xmm_xmmm128 EVEX_Vpunpcklbw_ymm_k1z_ymm_ymmm256
        EVEX_Vpunpcklbw_zmm_k1z_zmm_zmmm512;
    PUNPCKLWD 0
        VEX_Vpunpcklwd_xmm_xmm_xmmm128 VEX_Vpunpcklwd_ymm_ymm_ymmm256
        EVEX_Vpunpcklwd_xmm_k1z_xmm_xmmm128 EVEX_Vpunpcklwd_ymm_k1z_ymm_ymmm256
        EVEX_Vpunpcklwd_zmm_k1z_zmm_zmmm512;
    PUNPCKLDQ 4
        VEX_Vpunpckldq_xmm_xmm_xmmm128 VEX_Vpunpckldq_ymm_ymm_ymmm256
        EVEX_Vpunpckldq_xmm_k1z_xmm_xmmm128b32 EVEX_Vpunpckldq_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpunpckldq_zmm_k1z_zmm_zmmm512b32;
    PUNPCKLQDQ 8
        VEX_Vpunpcklqdq_xmm_xmm_xmmm128 VEX_Vpunpcklqdq_ymm_ymm_ymmm256
        EVEX_Vpunpcklqdq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpunpcklqdq_ymm_k1z_ymm_ymmm256b64
        EVEX_Vpunpcklqdq_zmm_k1z_zmm_zmmm512b64;
    PUNPCKHBW 0
        VEX_Vpunpckhbw_xmm_xmm_xmmm128 VEX_Vpunpckhbw_ymm_ymm_ymmm256
        EVEX_Vpunpckhbw_xmm_k1z_xmm_xmmm128 EVEX_Vpunpckhbw_ymm_k1z_ymm_ymmm256
        EVEX_Vpunpckhbw_zmm_k1z_zmm_zmmm512;
    PUNPCKHWD 0
        VEX_Vpunpckhwd_xmm_xmm_xmmm128 VEX_Vpunpckhwd_ymm_ymm_ymmm256
        EVEX_Vpunpckhwd_xmm_k1z_xmm_xmmm128 EVEX_Vpunpckhwd_ymm_k1z_ymm_ymmm256
        EVEX_Vpunpckhwd_zmm_k1z_zmm_zmmm512;
    PUNPCKHDQ 4
        VEX_Vpunpckhdq_xmm_xmm_xmmm128 VEX_Vpunpckhdq_ymm_ymm_ymmm256
        EVEX_Vpunpckhdq_xmm_k1z_xmm_xmmm128b32 EVEX_Vpunpckhdq_ymm_k1z_ymm_ymmm256b32
        EVEX_Vpunpckhdq_zmm_k1z_zmm_zmmm512b32;
    PUNPCKHQDQ 8
        VEX_Vpunpckhqdq_xmm_xmm_xmmm128 VEX_Vpunpckhqdq_ymm_ymm_ymmm256
        EVEX_Vpunpckhqdq_xmm_k1z_xmm_xmmm128b64 EVEX_Vpunpckhqdq_ymm_k1z_ymm_ymmm256b64
        EVEX_Vpunpckhqdq_zmm_k1z_zmm_zmmm512b64;
    PSHUFB 0
        VEX_Vpshufb_xmm_xmm_xmmm128 VEX_Vpshufb_ymm_ymm_ymmm256
        EVEX_Vpshufb_xmm_k1z_xmm_xmmm128 EVEX_Vpshufb_ymm_k1z_ymm_ymmm256
        EVEX_Vpshufb_zmm_k1z_zmm_zmmm512;
    PSHUFD 4
        VEX_Vpshufd_xmm_xmmm128_imm8 VEX_Vpshufd_ymm_ymmm256_imm8
        EVEX_Vpshufd_xmm_k1z_xmmm128b32_imm8 EVEX_Vpshufd_ymm_k1z_ymmm256b32_imm8
        EVEX_Vpshufd_zmm_k1z_zmmm512b32_imm8;
    PALIGNR 0
        VEX_Vpalignr_xmm_xmm_xmmm128_imm8 VEX_Vpalignr_ymm_ymm_ymmm256_imm8
        EVEX_Vpalignr_xmm_k1z_xmm_xmmm128_imm8 EVEX_Vpalignr_ymm_k1z_ymm_ymmm256_imm8
        EVEX_Vpalignr_zmm_k1z_zmm_zmmm512_imm8;
    SHUFPS 4
        VEX_Vshufps_xmm_xmm_xmmm128_imm8 VEX_Vshufps_ymm_ymm_ymmm256_imm8
        EVEX_Vshufps_xmm_k1z_xmm_xmmm128b32_imm8 EVEX_Vshufps_ymm_k1z_ymm_ymmm256b32_imm8
        EVEX_Vshufps_zmm_k1z_zmm_zmmm512b32_imm8;
}

// Moves.
forms! {
    LOAD 0
        VEX_Vmovdqu_xmm_xmmm128 VEX_Vmovdqu_ymm_ymmm256
        EVEX_Vmovdqu32_xmm_k1z_xmmm128 EVEX_Vmovdqu32_ymm_k1z_ymmm256
        EVEX_Vmovdqu32_zmm_k1z_zmmm512;
    STORE 0
        VEX_Vmovdqu_xmmm128_xmm VEX_Vmovdqu_ymmm256_ymm
        EVEX_Vmovdqu32_xmmm128_k1z_xmm EVEX_Vmovdqu32_ymmm256_k1z_ymm
        EVEX_Vmovdqu32_zmmm512_k1z_zmm;
    MOVE 0
        VEX_Vmovdqa_xmm_xmmm128 VEX_Vmovdqa_ymm_ymmm256
        EVEX_Vmovdqa32_xmm_k1z_xmmm128 EVEX_Vmovdqa32_ymm_k1z_ymmm256
        EVEX_Vmovdqa32_zmm_k1z_zmmm512;
    LOAD_XMM 0
        VEX_Vmovdqu_xmm_xmmm128 VEX_Vmovdqu_xmm_xmmm128
        EVEX_Vmovdqu32_xmm_k1z_xmmm128 EVEX_Vmovdqu32_xmm_k1z_xmmm128
        EVEX_Vmovdqu32_xmm_k1z_xmmm128;
    STORE_XMM 0
        VEX_Vmovdqu_xmmm128_xmm VEX_Vmovdqu_xmmm128_xmm
        EVEX_Vmovdqu32_xmmm128_k1z_xmm EVEX_Vmovdqu32_xmmm128_k1z_xmm
        EVEX_Vmovdqu32_xmmm128_k1z_xmm;
    LOAD_YMM 0
        INVALID VEX_Vmovdqu_ymm_ymmm256
        INVALID EVEX_Vmovdqu32_ymm_k1z_ymmm256 EVEX_Vmovdqu32_ymm_k1z_ymmm256;
    STORE_YMM 0
        INVALID VEX_Vmovdqu_ymmm256_ymm
        INVALID EVEX_Vmovdqu32_ymmm256_k1z_ymm EVEX_Vmovdqu32_ymmm256_k1z_ymm;
    MOVE_XMM 0
        VEX_Vmovdqa_xmm_xmmm128 VEX_Vmovdqa_xmm_xmmm128
        EVEX_Vmovdqa32_xmm_k1z_xmmm128 EVEX_Vmovdqa32_xmm_k1z_xmmm128
        EVEX_Vmovdqa32_xmm_k1z_xmmm128;
    MOVSS_LOAD 0
        VEX_Vmovss_xmm_m32 VEX_Vmovss_xmm_m32
        EVEX_Vmovss_xmm_k1z_m32 EVEX_Vmovss_xmm_k1z_m32 EVEX_Vmovss_xmm_k1z_m32;
    MOVSS_STORE 0
        VEX_Vmovss_m32_xmm VEX_Vmovss_m32_xmm
        EVEX_Vmovss_m32_k1_xmm EVEX_Vmovss_m32_k1_xmm EVEX_Vmovss_m32_k1_xmm;
    MOVSD_LOAD 0
        VEX_Vmovsd_xmm_m64 VEX_Vmovsd_xmm_m64
        EVEX_Vmovsd_xmm_k1z_m64 EVEX_Vmovsd_xmm_k1z_m64 EVEX_Vmovsd_xmm_k1z_m64;
    MOVSD_STORE 0
        VEX_Vmovsd_m64_xmm VEX_Vmovsd_m64_xmm
        EVEX_Vmovsd_m64_k1_xmm EVEX_Vmovsd_m64_k1_xmm EVEX_Vmovsd_m64_k1_xmm;
    MOVD_TO 0
        VEX_Vmovd_xmm_rm32 VEX_Vmovd_xmm_rm32
        EVEX_Vmovd_xmm_rm32 EVEX_Vmovd_xmm_rm32 EVEX_Vmovd_xmm_rm32;
    MOVD_FROM 0
        VEX_Vmovd_rm32_xmm VEX_Vmovd_rm32_xmm
        EVEX_Vmovd_rm32_xmm EVEX_Vmovd_rm32_xmm EVEX_Vmovd_rm32_xmm;
    MOVQ_TO 0
        VEX_Vmovq_xmm_rm64 VEX_Vmovq_xmm_rm64
        EVEX_Vmovq_xmm_rm64 EVEX_Vmovq_xmm_rm64 EVEX_Vmovq_xmm_rm64;
    MOVQ_FROM 0
        VEX_Vmovq_rm64_xmm VEX_Vmovq_rm64_xmm
        EVEX_Vmovq_rm64_xmm EVEX_Vmovq_rm64_xmm EVEX_Vmovq_rm64_xmm;
    PEXTRB 0
        VEX_Vpextrb_r32m8_xmm_imm8 VEX_Vpextrb_r32m8_xmm_imm8
        EVEX_Vpextrb_r32m8_xmm_imm8 EVEX_Vpextrb_r32m8_xmm_imm8 EVEX_Vpextrb_r32m8_xmm_imm8;
    PEXTRW 0
        VEX_Vpextrw_r32m16_xmm_imm8 VEX_Vpextrw_r32m16_xmm_imm8
        EVEX_Vpextrw_r32m16_xmm_imm8 EVEX_Vpextrw_r32m16_xmm_imm8 EVEX_Vpextrw_r32m16_xmm_imm8;
    PEXTRD 0
        VEX_Vpextrd_rm32_xmm_imm8 VEX_Vpextrd_rm32_xmm_imm8
        EVEX_Vpextrd_rm32_xmm_imm8 EVEX_Vpextrd_rm32_xmm_imm8 EVEX_Vpextrd_rm32_xmm_imm8;
    PEXTRQ 0
        VEX_Vpextrq_rm64_xmm_imm8 VEX_Vpextrq_rm64_xmm_imm8
        EVEX_Vpextrq_rm64_xmm_imm8 EVEX_Vpextrq_rm64_xmm_imm8 EVEX_Vpextrq_rm64_xmm_imm8;
    PSHUFD_XMM 0
        VEX_Vpshufd_xmm_xmmm128_imm8 VEX_Vpshufd_xmm_xmmm128_imm8
        EVEX_Vpshufd_xmm_k1z_xmmm128b32_imm8 EVEX_Vpshufd_xmm_k1z_xmmm128b32_imm8
        EVEX_Vpshufd_xmm_k1z_xmmm128b32_imm8;
    EXTRACT128 0
        INVALID VEX_Vextracti128_xmmm128_ymm_imm8
        INVALID EVEX_Vextracti32x4_xmmm128_k1z_ymm_imm8 EVEX_Vextracti32x4_xmmm128_k1z_zmm_imm8;
    PBROADCASTB 0
        VEX_Vpbroadcastb_xmm_xmmm8 VEX_Vpbroadcastb_ymm_xmmm8
        EVEX_Vpbroadcastb_xmm_k1z_xmmm8 EVEX_Vpbroadcastb_ymm_k1z_xmmm8
        EVEX_Vpbroadcastb_zmm_k1z_xmmm8;
    PBROADCASTW 0
        VEX_Vpbroadcastw_xmm_xmmm16 VEX_Vpbroadcastw_ymm_xmmm16
        EVEX_Vpbroadcastw_xmm_k1z_xmmm16 EVEX_Vpbroadcastw_ymm_k1z_xmmm16
        EVEX_Vpbroadcastw_zmm_k1z_xmmm16;
    PBROADCASTD 0
        VEX_Vpbroadcastd_xmm_xmmm32 VEX_Vpbroadcastd_ymm_xmmm32
        EVEX_Vpbroadcastd_xmm_k1z_xmmm32 EVEX_Vpbroadcastd_ymm_k1z_xmmm32
        EVEX_Vpbroadcastd_zmm_k1z_xmmm32;
    PBROADCASTQ 0
        VEX_Vpbroadcastq_xmm_xmmm64 VEX_Vpbroadcastq_ymm_xmmm64
        EVEX_Vpbroadcastq_xmm_k1z_xmmm64 EVEX_Vpbroadcastq_ymm_k1z_xmmm64
        EVEX_Vpbroadcastq_zmm_k1z_xmmm64;
    PBROADCASTB_GPR 0
        INVALID INVALID
        EVEX_Vpbroadcastb_xmm_k1z_r32 EVEX_Vpbroadcastb_ymm_k1z_r32 EVEX_Vpbroadcastb_zmm_k1z_r32;
    PBROADCASTW_GPR 0
        INVALID INVALID
        EVEX_Vpbroadcastw_xmm_k1z_r32 EVEX_Vpbroadcastw_ymm_k1z_r32 EVEX_Vpbroadcastw_zmm_k1z_r32;
    PBROADCASTD_GPR 0
        INVALID INVALID
        EVEX_Vpbroadcastd_xmm_k1z_r32 EVEX_Vpbroadcastd_ymm_k1z_r32 EVEX_Vpbroadcastd_zmm_k1z_r32;
    PBROADCASTQ_GPR 0
        INVALID INVALID
        EVEX_Vpbroadcastq_xmm_k1z_r64 EVEX_Vpbroadcastq_ymm_k1z_r64 EVEX_Vpbroadcastq_zmm_k1z_r64;
    BROADCAST128 0
        VEX_Vmovdqu_xmm_xmmm128 VEX_Vbroadcasti128_ymm_m128
        EVEX_Vmovdqu32_xmm_k1z_xmmm128 EVEX_Vbroadcasti32x4_ymm_k1z_m128
        EVEX_Vbroadcasti32x4_zmm_k1z_m128;
    PERMQ_IMM 8
        INVALID VEX_Vpermq_ymm_ymmm256_imm8
        INVALID EVEX_Vpermq_ymm_k1z_ymmm256b64_imm8 EVEX_Vpermq_zmm_k1z_zmmm512b64_imm8;
    PERMD 4
        INVALID VEX_Vpermd_ymm_ymm_ymmm256
        INVALID EVEX_Vpermd_ymm_k1z_ymm_ymmm256b32 EVEX_Vpermd_zmm_k1z_zmm_zmmm512b32;
    PERMQ 8
        INVALID INVALID
        INVALID EVEX_Vpermq_ymm_k1z_ymm_ymmm256b64 EVEX_Vpermq_zmm_k1z_zmm_zmmm512b64;
    PMOVSXBW 0
        VEX_Vpmovsxbw_xmm_xmmm64 VEX_Vpmovsxbw_ymm_xmmm128
        EVEX_Vpmovsxbw_xmm_k1z_xmmm64 EVEX_Vpmovsxbw_ymm_k1z_xmmm128 EVEX_Vpmovsxbw_zmm_k1z_ymmm256;
    PMOVSXWD 0
        VEX_Vpmovsxwd_xmm_xmmm64 VEX_Vpmovsxwd_ymm_xmmm128
        EVEX_Vpmovsxwd_xmm_k1z_xmmm64 EVEX_Vpmovsxwd_ymm_k1z_xmmm128 EVEX_Vpmovsxwd_zmm_k1z_ymmm256;
    PMOVSXDQ 0
        VEX_Vpmovsxdq_xmm_xmmm64 VEX_Vpmovsxdq_ymm_xmmm128
        EVEX_Vpmovsxdq_xmm_k1z_xmmm64 EVEX_Vpmovsxdq_ymm_k1z_xmmm128 EVEX_Vpmovsxdq_zmm_k1z_ymmm256;
    PMOVZXBW 0
        VEX_Vpmovzxbw_xmm_xmmm64 VEX_Vpmovzxbw_ymm_xmmm128
        EVEX_Vpmovzxbw_xmm_k1z_xmmm64 EVEX_Vpmovzxbw_ymm_k1z_xmmm128 EVEX_Vpmovzxbw_zmm_k1z_ymmm256;
    PMOVZXWD 0
        VEX_Vpmovzxwd_xmm_xmmm64 VEX_Vpmovzxwd_ymm_xmmm128
        EVEX_Vpmovzxwd_xmm_k1z_xmmm64 EVEX_Vpmovzxwd_ymm_k1z_xmmm128 EVEX_Vpmovzxwd_zmm_k1z_ymmm256;
    PMOVZXDQ 0
        VEX_Vpmovzxdq_xmm_xmmm64 VEX_Vpmovzxdq_ymm_xmmm128
        EVEX_Vpmovzxdq_xmm_k1z_xmmm64 EVEX_Vpmovzxdq_ymm_k1z_xmmm128 EVEX_Vpmovzxdq_zmm_k1z_ymmm256;
    STORE_BYTES 0
        INVALID INVALID
        EVEX_Vmovdqu8_xmmm128_k1z_xmm EVEX_Vmovdqu8_ymmm256_k1z_ymm EVEX_Vmovdqu8_zmmm512_k1z_zmm;
}
