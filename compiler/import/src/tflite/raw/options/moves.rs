//! Parameters of operators that move elements.

use super::{RawOptions, ResizeOptions};
use crate::tflite::schema_generated::{BuiltinOptions as Kind, Operator};

/// Of GATHER.
#[derive(Debug, Clone, PartialEq)]
pub struct GatherOptions {
    /// Counts from the end if negative.
    pub axis: i32,
    /// Leading dimensions that tensor and indices share.
    pub batch_dims: i32,
}

/// Of SQUEEZE.
#[derive(Debug, Clone, PartialEq)]
pub struct SqueezeOptions {
    /// Dimensions that go; all of extent 1 if empty.
    pub axes: Vec<i32>,
}

/// Of STRIDED_SLICE: bit i speaks of element i of begin, end and strides.
#[derive(Debug, Clone, PartialEq)]
pub struct StridedSliceOptions {
    /// From the first element on.
    pub begin_mask: i32,
    /// To the last element.
    pub end_mask: i32,
    /// As many whole dimensions as the others leave.
    pub ellipsis_mask: i32,
    /// A new dimension of extent 1.
    pub new_axis_mask: i32,
    /// One element, and the dimension goes.
    pub shrink_axis_mask: i32,
    /// `end` counts from `begin`.
    pub offset: bool,
}

/// Of PACK.
#[derive(Debug, Clone, PartialEq)]
pub struct PackOptions {
    /// The new dimension; counts from the end if negative.
    pub axis: i32,
    /// Number of inputs.
    pub values: i32,
}

/// Of UNPACK.
#[derive(Debug, Clone, PartialEq)]
pub struct UnpackOptions {
    /// The dimension that goes; counts from the end if negative.
    pub axis: i32,
    /// Number of outputs.
    pub num: i32,
}

/// Of MIRROR_PAD.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorPadOptions {
    /// 0 REFLECT, 1 SYMMETRIC.
    pub mode: i8,
}

/// Of SPACE_TO_DEPTH and DEPTH_TO_SPACE.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockOptions {
    /// Rows and columns of a block.
    pub size: i32,
}

/// Options of operators that move elements.
pub(super) fn read(op: &Operator) -> Option<RawOptions> {
    Some(match op.builtin_options_type() {
        Kind::GatherOptions => {
            let o = op.builtin_options_as_gather_options()?;
            RawOptions::Gather(GatherOptions { axis: o.axis(), batch_dims: o.batch_dims() })
        }
        Kind::SqueezeOptions => {
            let o = op.builtin_options_as_squeeze_options()?;
            let axes = o.squeeze_dims().iter().flatten().collect();
            RawOptions::Squeeze(SqueezeOptions { axes })
        }
        Kind::StridedSliceOptions => {
            let o = op.builtin_options_as_strided_slice_options()?;
            RawOptions::StridedSlice(StridedSliceOptions {
                begin_mask: o.begin_mask(),
                end_mask: o.end_mask(),
                ellipsis_mask: o.ellipsis_mask(),
                new_axis_mask: o.new_axis_mask(),
                shrink_axis_mask: o.shrink_axis_mask(),
                offset: o.offset(),
            })
        }
        Kind::PackOptions => {
            let o = op.builtin_options_as_pack_options()?;
            RawOptions::Pack(PackOptions { axis: o.axis(), values: o.values_count() })
        }
        Kind::UnpackOptions => {
            let o = op.builtin_options_as_unpack_options()?;
            RawOptions::Unpack(UnpackOptions { axis: o.axis(), num: o.num() })
        }
        Kind::ResizeNearestNeighborOptions => {
            let o = op.builtin_options_as_resize_nearest_neighbor_options()?;
            RawOptions::ResizeNearest(ResizeOptions {
                align_corners: o.align_corners(),
                half_pixel_centers: o.half_pixel_centers(),
            })
        }
        Kind::MirrorPadOptions => {
            let o = op.builtin_options_as_mirror_pad_options()?;
            RawOptions::MirrorPad(MirrorPadOptions { mode: o.mode() })
        }
        Kind::SpaceToDepthOptions => {
            let o = op.builtin_options_as_space_to_depth_options()?;
            RawOptions::SpaceToDepth(BlockOptions { size: o.block_size() })
        }
        Kind::DepthToSpaceOptions => {
            let o = op.builtin_options_as_depth_to_space_options()?;
            RawOptions::DepthToSpace(BlockOptions { size: o.block_size() })
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tflite::schema_generated as schema;
    use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};

    type Builder = FlatBufferBuilder<'static>;

    /// What is read of an operator with the options that `make` writes.
    fn stored(kind: Kind, make: impl Fn(&mut Builder) -> WIPOffset<UnionWIPOffset>) -> RawOptions {
        let mut b = Builder::new();
        let options = make(&mut b);
        let op = schema::OperatorArgs {
            builtin_options_type: kind,
            builtin_options: Some(options),
            ..Default::default()
        };
        let op = schema::Operator::create(&mut b, &op);
        b.finish(op, None);
        super::super::read(&flatbuffers::root::<Operator>(b.finished_data()).unwrap())
    }

    #[test]
    fn of_slices_and_gathers() {
        let found = stored(Kind::StridedSliceOptions, |b| {
            let args = schema::StridedSliceOptionsArgs {
                begin_mask: 1,
                end_mask: 2,
                ellipsis_mask: 3,
                new_axis_mask: 4,
                shrink_axis_mask: 5,
                offset: true,
            };
            schema::StridedSliceOptions::create(b, &args).as_union_value()
        });
        let expected = StridedSliceOptions {
            begin_mask: 1,
            end_mask: 2,
            ellipsis_mask: 3,
            new_axis_mask: 4,
            shrink_axis_mask: 5,
            offset: true,
        };
        assert_eq!(found, RawOptions::StridedSlice(expected));
        let found = stored(Kind::GatherOptions, |b| {
            let args = schema::GatherOptionsArgs { axis: -1, batch_dims: 2 };
            schema::GatherOptions::create(b, &args).as_union_value()
        });
        assert_eq!(found, RawOptions::Gather(GatherOptions { axis: -1, batch_dims: 2 }));
        let found = stored(Kind::SqueezeOptions, |b| {
            let squeeze_dims = Some(b.create_vector(&[0, -2]));
            let args = schema::SqueezeOptionsArgs { squeeze_dims };
            schema::SqueezeOptions::create(b, &args).as_union_value()
        });
        assert_eq!(found, RawOptions::Squeeze(SqueezeOptions { axes: vec![0, -2] }));
    }

    #[test]
    fn of_packs_blocks_and_borders() {
        let found = stored(Kind::PackOptions, |b| {
            let args = schema::PackOptionsArgs { values_count: 3, axis: -1 };
            schema::PackOptions::create(b, &args).as_union_value()
        });
        assert_eq!(found, RawOptions::Pack(PackOptions { axis: -1, values: 3 }));
        let found = stored(Kind::UnpackOptions, |b| {
            let args = schema::UnpackOptionsArgs { num: 4, axis: 2 };
            schema::UnpackOptions::create(b, &args).as_union_value()
        });
        assert_eq!(found, RawOptions::Unpack(UnpackOptions { axis: 2, num: 4 }));
        let found = stored(Kind::MirrorPadOptions, |b| {
            schema::MirrorPadOptions::create(b, &schema::MirrorPadOptionsArgs { mode: 1 })
                .as_union_value()
        });
        assert_eq!(found, RawOptions::MirrorPad(MirrorPadOptions { mode: 1 }));
        let found = stored(Kind::SpaceToDepthOptions, |b| {
            schema::SpaceToDepthOptions::create(
                b,
                &schema::SpaceToDepthOptionsArgs { block_size: 2 },
            )
            .as_union_value()
        });
        assert_eq!(found, RawOptions::SpaceToDepth(BlockOptions { size: 2 }));
        let found = stored(Kind::DepthToSpaceOptions, |b| {
            schema::DepthToSpaceOptions::create(
                b,
                &schema::DepthToSpaceOptionsArgs { block_size: 3 },
            )
            .as_union_value()
        });
        assert_eq!(found, RawOptions::DepthToSpace(BlockOptions { size: 3 }));
        let found = stored(Kind::ResizeNearestNeighborOptions, |b| {
            let args = schema::ResizeNearestNeighborOptionsArgs {
                align_corners: false,
                half_pixel_centers: true,
            };
            schema::ResizeNearestNeighborOptions::create(b, &args).as_union_value()
        });
        let expected = ResizeOptions { align_corners: false, half_pixel_centers: true };
        assert_eq!(found, RawOptions::ResizeNearest(expected));
    }
}
