//! The shape of a module's functions. What compiles a function takes time that grows faster than the
//! function; these bounds are far above what compilers emit, and below what hurts.

use wasmparser::{FunctionBody, Operator, Parser, Payload};

use super::fault::{LoadError, LoadStep};

/// Octets of one function. The largest of Python's interpreter has 430,000.
pub(super) const FUNCTION_BYTES_MAX: usize = 1 << 20;
/// Blocks within blocks. Python's interpreter has 781, a large `match` one for each of its arms.
pub(super) const NESTING_MAX: u32 = 5_000;
/// Variables of one function. Python's interpreter has 271.
pub(super) const LOCALS_MAX: u64 = 10_000;

/// Refuses a module with a function beyond a bound. The octets are valid.
pub(super) fn check(octets: &[u8]) -> Result<(), LoadError> {
    let mut number = 0_u64;
    for payload in Parser::new(0).parse_all(octets) {
        let payload = payload.map_err(|error| refuse(&error.to_string()))?;
        if let Payload::CodeSectionEntry(body) = payload {
            let beyond = beyond(&body).map_err(|error| refuse(&error.to_string()))?;
            if let Some(what) = beyond {
                return Err(refuse(&format!(
                    "its function {number} (in the order of code) has {what}"
                )));
            }
            number += 1;
        }
    }
    Ok(())
}

fn refuse(reason: &str) -> LoadError {
    LoadError::new(
        LoadStep::Validate,
        reason,
        "split the function; no compiler makes one like it, so look at what wrote it",
    )
}

/// What a function has too much of.
fn beyond(body: &FunctionBody<'_>) -> wasmparser::Result<Option<String>> {
    let size = body.range().len();
    if size > FUNCTION_BYTES_MAX {
        return Ok(Some(format!("{size} octets, {FUNCTION_BYTES_MAX} are allowed")));
    }
    let mut locals = 0_u64;
    for group in body.get_locals_reader()? {
        locals += u64::from(group?.0);
    }
    if locals > LOCALS_MAX {
        return Ok(Some(format!("{locals} variables, {LOCALS_MAX} are allowed")));
    }
    let mut depth = 0_u32;
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
            Operator::End => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            return Ok(Some(format!("more than {NESTING_MAX} blocks within each other")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with one function: these locals of type i32, this code and its `end`.
    fn module(locals: u32, code: &[u8]) -> Vec<u8> {
        let number = |value: usize| {
            let (mut octets, mut rest) = (Vec::new(), value);
            while rest >= 0x80 {
                octets.push(u8::try_from(rest & 0x7F).unwrap() | 0x80);
                rest >>= 7;
            }
            octets.push(u8::try_from(rest).unwrap());
            octets
        };
        let locals = [&[1], &*number(usize::try_from(locals).unwrap()), &[0x7F]].concat();
        let body = [&locals, code, &[0x0B]].concat();
        let code = [&[1], &*number(body.len()), &body].concat();
        [&b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0A"[..], &number(code.len()), &code]
            .concat()
    }

    #[track_caller]
    fn check_refused(locals: u32, code: &[u8], words: &str) {
        let error = check(&module(locals, code)).unwrap_err().to_string();
        assert!(error.contains("function 0") && error.contains(words), "{error}");
    }

    #[test]
    fn a_function_beyond_a_bound_is_refused_by_its_name() {
        let nested = |depth: usize| [[0x02, 0x40].repeat(depth), vec![0x0B; depth]].concat();
        assert_eq!(check(&module(10_000, &nested(5_000))), Ok(()));
        check_refused(10_001, &[], "10001 variables");
        check_refused(1, &nested(5_001), "5000 blocks within each other");
        check_refused(1, &vec![0x01; FUNCTION_BYTES_MAX], "1048576 are allowed");
    }
}
