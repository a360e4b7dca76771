//! Extents of the model's inputs: those that the file leaves open are filled in here.
//!
//! An open first dimension is the batch: 1 or `--batch`. Any other is given by `--shape`, for the
//! input (`--shape x=1x16`) or for the name of the extent (`--shape seq=16`), and holds wherever
//! the same name stands.

use super::proto::{Extent, ValueInfo};
use crate::{ImportOptions, Problem, shapes};
use indexmap::IndexMap;

/// Shapes of all inputs, in order.
///
/// # Errors
/// Every input whose extents are not known, do not fit or are absurd.
pub fn shapes_of(
    inputs: &[&ValueInfo],
    options: &ImportOptions,
) -> Result<Vec<Vec<u64>>, Vec<Problem>> {
    let mut names: IndexMap<&str, u64> = IndexMap::new();
    let mut problems = Vec::new();
    for (name, shape) in &options.shapes {
        if let &[extent] = shape.as_slice() {
            names.insert(name, extent);
        }
    }
    for (name, _) in &options.shapes {
        let is_dim =
            |i: &&&ValueInfo| dims(i).is_ok_and(|all| all.iter().any(|d| is_named(d, name)));
        if !inputs.iter().any(|i| i.name == *name) && !inputs.iter().any(|i| is_dim(&i)) {
            let known: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
            let what = "--shape names no input or extent of the model".to_string();
            let fix = format!("its inputs are: {}", known.join(", "));
            problems.push(Problem::tensor(name, what, &fix));
        }
    }
    for (i, input) in inputs.iter().enumerate() {
        if let Err(p) = bind_names((i, input), options, &mut names) {
            problems.push(p);
        }
    }
    let shapes: Vec<Vec<u64>> = inputs
        .iter()
        .enumerate()
        .filter_map(|input| shape(input, options, &names).map_err(|p| problems.push(p)).ok())
        .collect();
    if problems.is_empty() { Ok(shapes) } else { Err(problems) }
}

fn is_named(dim: &Option<Extent>, name: &str) -> bool {
    matches!(dim, Some(Extent::Param(p)) if p == name)
}

/// The extents as the file has them.
fn dims(input: &ValueInfo) -> Result<Vec<&Option<Extent>>, Problem> {
    let tensor = input.ty.as_ref().and_then(|t| t.tensor.as_ref()).ok_or_else(|| {
        let fix = "sequences, maps and optional values are not supported";
        Problem::tensor(&input.name, "the input is not a tensor".into(), fix)
    })?;
    let shape = tensor.shape.as_ref().ok_or_else(|| {
        let fix = "export the model with the rank of its inputs";
        Problem::tensor(&input.name, "the input has no shape".into(), fix)
    })?;
    Ok(shape.dim.iter().map(|d| &d.extent).collect())
}

fn given<'o>(input: &ValueInfo, options: &'o ImportOptions) -> Option<&'o Vec<u64>> {
    options.shapes.iter().rev().find(|(n, _)| *n == input.name).map(|(_, s)| s)
}

/// What an open extent is if nothing else says.
fn open_extent(options: &ImportOptions, input: usize, d: usize, rank: usize) -> Option<u64> {
    let shape = options.open_shapes.get(input).filter(|s| s.len() == rank)?;
    Some(shape[d])
}

/// Notes what a given shape, or the batch, says about the names of extents.
fn bind_names<'m>(
    (i, input): (usize, &'m ValueInfo),
    options: &ImportOptions,
    names: &mut IndexMap<&'m str, u64>,
) -> Result<(), Problem> {
    let dims = dims(input)?;
    let given = given(input, options);
    if let Some(given) = given
        && given.len() != dims.len()
    {
        let what = format!("--shape gives {} dimensions, not {}", given.len(), dims.len());
        return Err(Problem::tensor(&input.name, what, "give one number per dimension"));
    }
    for (d, dim) in dims.iter().enumerate() {
        let Some(Extent::Param(name)) = dim else { continue };
        let known = match given {
            Some(given) => Some(given[d]),
            None if names.contains_key(name.as_str()) => None,
            None => {
                let batch = options.batch.filter(|_| d == 0);
                let open = batch.or_else(|| open_extent(options, i, d, dims.len()));
                open.or((d == 0).then_some(1))
            }
        };
        let Some(extent) = known.filter(|_| !name.is_empty()) else { continue };
        match names.insert(name, extent) {
            Some(before) if before != extent && given.is_some() && d > 0 => {
                let what = format!("'{name}' is {before} elsewhere and {extent} here");
                return Err(Problem::tensor(&input.name, what, "give shapes that agree"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn shape(
    (i, input): (usize, &&ValueInfo),
    options: &ImportOptions,
    names: &IndexMap<&str, u64>,
) -> Result<Vec<u64>, Problem> {
    let given = given(input, options);
    let mut shape = Vec::new();
    let dims = dims(input)?;
    let rank = dims.len();
    for (d, dim) in dims.into_iter().enumerate() {
        let batch = options.batch.filter(|_| d == 0);
        let open = batch.or_else(|| open_extent(options, i, d, rank));
        let extent = match (given, dim) {
            (Some(given), _) => given[d],
            (_, Some(Extent::Value(n))) if *n >= 0 => match options.batch {
                Some(batch) if d == 0 => batch,
                _ => *n as u64,
            },
            (_, Some(Extent::Param(name))) if names.contains_key(name.as_str()) => {
                names[name.as_str()]
            }
            (_, dim) => match open {
                Some(extent) => extent,
                None if d == 0 => 1,
                None => return Err(unknown(input, d, dim)),
            },
        };
        shape.push(extent);
    }
    shapes::check_size(&shape)
        .map_err(|e| Problem::tensor(&input.name, e, "give a smaller shape"))?;
    Ok(shape)
}

fn unknown(input: &ValueInfo, d: usize, dim: &Option<Extent>) -> Problem {
    let fix = |name: &str| format!("give it with --shape {name}=…");
    match dim {
        Some(Extent::Param(name)) if !name.is_empty() => {
            let what = format!("dimension {d}, '{name}', is not known");
            Problem::tensor(&input.name, what, &fix(name))
        }
        _ => {
            let what = format!("dimension {d} is not known");
            Problem::tensor(&input.name, what, &fix(&input.name))
        }
    }
}
