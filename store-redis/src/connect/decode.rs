//! Reads the driver's values: texts, numbers, lists, fields, times.

use redis::Value;

use crate::error::ClientError;

/// Reads the answer of `TIME` as microseconds.
pub(crate) fn time(answer: &Value) -> Option<u64> {
    let Value::Array(parts) = answer else { return None };
    let mut numbers =
        parts.iter().map(|part| text(part).and_then(|digits| digits.parse::<u64>().ok()));
    let (seconds, micros) = (numbers.next()??, numbers.next()??);
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

/// Reads the answer of a [`Request::WithTime`](super::command::Request::WithTime): the command's
/// answer and the server's time in milliseconds.
pub(crate) fn answer_and_time(answer: Value) -> Result<(Value, u64), ClientError> {
    const SHAPE: ClientError = ClientError::UnexpectedAnswer("expected an answer and a time");
    let [answer, now] = <[Value; 2]>::try_from(list(answer)?).map_err(|_| SHAPE)?;
    let now = int(&now).and_then(|now| u64::try_from(now).ok()).ok_or(SHAPE)?;
    Ok((answer, now))
}

/// Reads the list with which a pipeline or a script answers.
pub(crate) fn list(answer: Value) -> Result<Vec<Value>, ClientError> {
    match answer {
        Value::Array(answers) => Ok(answers),
        _ => Err(ClientError::UnexpectedAnswer("expected a list")),
    }
}

pub(crate) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

pub(crate) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

/// Finds a field in a map, or in a list of alternating names and values.
pub(crate) fn field<'a>(fields: &'a Value, wanted: &str) -> Option<&'a str> {
    match fields {
        Value::Map(pairs) => pairs
            .iter()
            .find(|(name, _)| text(name) == Some(wanted))
            .and_then(|(_, value)| text(value)),
        Value::Array(list) => {
            let (pairs, _) = list.as_chunks::<2>();
            pairs
                .iter()
                .find(|[name, _]| text(name) == Some(wanted))
                .and_then(|[_, value]| text(value))
        }
        _ => None,
    }
}
