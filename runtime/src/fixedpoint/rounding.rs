//! Rounding to integers, and the rounded integer averages of AVERAGE_POOL_2D.
//!
//! Sources: sections 0 and D.8. Pure functions; anyone may call.

/// RNA: nearest integer, halves away from zero (C `roundf`). Section 0.
pub fn round_half_away_f32(x: f32) -> f32 {
    x.round()
}

/// RNA in double precision (C `round`). Section 0.
pub fn round_half_away_f64(x: f64) -> f64 {
    x.round()
}

/// RNE: nearest integer, halves to the even one. Section 0.
pub fn round_half_even_f32(x: f32) -> f32 {
    x.round_ties_even()
}

/// RNE in double precision. Section 0.
pub fn round_half_even_f64(x: f64) -> f64 {
    x.round_ties_even()
}

/// AVERAGE_POOL_2D of int8 and int16: `(s > 0 ? s + c/2 : s - c/2) / c` with C division, that is
/// half away from zero. `count` is the number of taps inside the image; 0 gives 0. Section D.8.
pub fn average_signed(sum: i32, count: i32) -> i32 {
    if count <= 0 {
        return 0;
    }
    let (sum, count) = (i64::from(sum), i64::from(count));
    let half = if sum > 0 { count / 2 } else { -(count / 2) };
    ((sum + half) / count) as i32
}

/// AVERAGE_POOL_2D of uint8: `(s + c/2) / c`, half up; `sum >= 0`. Section D.8.
pub fn average_unsigned(sum: i32, count: i32) -> i32 {
    if count <= 0 {
        return 0;
    }
    let (sum, count) = (i64::from(sum), i64::from(count));
    ((sum + count / 2) / count) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties() {
        let away: Vec<f32> = [0.5, -0.5, 2.5, -2.5, 0.49999997].map(round_half_away_f32).into();
        assert_eq!(away, [1.0, -1.0, 3.0, -3.0, 0.0]);
        let even: Vec<f32> = [0.5, -0.5, 1.5, 2.5, -2.5].map(round_half_even_f32).into();
        assert_eq!(even, [0.0, 0.0, 2.0, 2.0, -2.0]);
        assert_eq!(round_half_away_f64(-1.5), -2.0);
        assert_eq!(round_half_even_f64(0.5), 0.0);
    }

    #[test]
    fn averages() {
        let signed = [(5, 2), (-5, 2), (-4, 2), (6, 4), (-6, 4), (0, 3), (7, 0)];
        assert_eq!(signed.map(|(s, c)| average_signed(s, c)), [3, -3, -2, 2, -2, 0, 0]);
        assert_eq!([(5, 2), (6, 4), (5, 4)].map(|(s, c)| average_unsigned(s, c)), [3, 2, 1]);
    }
}
