//! The string syntax of selectors, and its complaints.

use std::collections::BTreeSet;

use super::{FieldRequirement, Operator, Requirement};
use crate::{
    field::{self, Errors, Path},
    names,
};

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A requirement is malformed.
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    /// Something stands between requirements.
    #[error("{0}")]
    Separator(String),
    /// A part of a field selector has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{part}'")]
    Field {
        /// The whole selector.
        selector: String,
        /// The part without an operator.
        part: String,
    },
    /// A typed selector has an unknown operator.
    #[error("{0:?} is not a valid label selector operator")]
    UnknownOperator(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Comma,
    Not,
    Equals,
    NotEquals,
    Greater,
    Less,
    In,
    NotIn,
    Open,
    Close,
    Word,
    End,
}

/// A token with its text.
type Lexeme<'a> = (Token, &'a str);

fn lex(text: &str) -> Vec<Lexeme<'_>> {
    let mut lexemes = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (token, length) = next(rest);
        lexemes.push((token, &rest[..length]));
        rest = rest[length..].trim_start();
    }
    lexemes.push((Token::End, ""));
    lexemes
}

fn next(rest: &str) -> (Token, usize) {
    const SYMBOLS: [(&str, Token); 9] = [
        ("==", Token::Equals),
        ("!=", Token::NotEquals),
        ("=", Token::Equals),
        ("!", Token::Not),
        (">", Token::Greater),
        ("<", Token::Less),
        ("(", Token::Open),
        (")", Token::Close),
        (",", Token::Comma),
    ];
    if let Some((symbol, token)) = SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
        return (*token, symbol.len());
    }
    let ends = |c: char| c.is_whitespace() || "=!><(),".contains(c);
    let length = rest.find(ends).unwrap_or(rest.len());
    match &rest[..length] {
        "in" => (Token::In, length),
        "notin" => (Token::NotIn, length),
        _ => (Token::Word, length),
    }
}

struct Parser<'a> {
    lexemes: Vec<Lexeme<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Lexeme<'a> {
        self.lexemes[self.at.min(self.lexemes.len() - 1)]
    }

    fn take(&mut self) -> Lexeme<'a> {
        let lexeme = self.peek();
        self.at += 1;
        lexeme
    }

    /// As a value or key, even `in` and `notin` are words.
    fn take_value(&mut self) -> Lexeme<'a> {
        match self.take() {
            (Token::In | Token::NotIn, text) => (Token::Word, text),
            other => other,
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek().0 == Token::Not;
        if absent {
            self.take();
        }
        let (token, key) = self.take_value();
        if token != Token::Word {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let next = self.peek().0;
        let (operator, values) = match (absent, next) {
            (true, _) => (Operator::DoesNotExist, Vec::new()),
            (false, Token::End | Token::Comma) => (Operator::Exists, Vec::new()),
            _ => self.condition()?,
        };
        validate(key, operator, &values)?;
        Ok(Requirement {
            key: key.to_owned(),
            operator,
            values: values.into_iter().collect::<BTreeSet<String>>(),
        })
    }

    fn condition(&mut self) -> Result<(Operator, Vec<String>), String> {
        let (token, text) = self.take();
        let operator = match token {
            Token::In | Token::Equals => Operator::In,
            Token::NotIn | Token::NotEquals => Operator::NotIn,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            _ => {
                return Err(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        let values = match token {
            Token::In | Token::NotIn => self.set()?,
            _ => vec![self.exact()?],
        };
        Ok((operator, values))
    }

    fn exact(&mut self) -> Result<String, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.take_value() {
            (Token::Word, text) => Ok(text.to_owned()),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        let (token, text) = self.take();
        if token != Token::Open {
            return Err(format!("found '{text}' expected: '('"));
        }
        let mut values = Vec::new();
        let mut pending = true;
        loop {
            match self.take_value() {
                (Token::Word, text) if pending => {
                    values.push(text.to_owned());
                    pending = false;
                }
                (Token::Comma, _) => {
                    if pending {
                        values.push(String::new());
                    }
                    pending = true;
                }
                (Token::Close, _) => {
                    if pending {
                        values.push(String::new());
                    }
                    return Ok(values);
                }
                (_, text) if values.is_empty() => {
                    return Err(format!("found '{text}', expected: ',', ')' or identifier"));
                }
                (_, text) if pending => {
                    return Err(format!("found '{text}', expected: identifier"));
                }
                (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
            }
        }
    }
}

/// The requirements of a label selector, by key.
pub(super) fn labels(text: &str) -> Result<Vec<Requirement>, Error> {
    let mut parser = Parser { lexemes: lex(text), at: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            (Token::End, _) => break,
            (Token::Word | Token::Not | Token::In | Token::NotIn, _) => {}
            (_, text) => {
                let what = format!("found '{text}', expected: !, identifier, or 'end of string'");
                return Err(Error::Separator(what));
            }
        }
        requirements.push(parser.requirement().map_err(Error::Requirement)?);
        match parser.take() {
            (Token::End, _) => break,
            (Token::Comma, _) => {
                let (token, text) = parser.peek();
                if !matches!(token, Token::Word | Token::Not | Token::In | Token::NotIn) {
                    let what = format!("found '{text}', expected: identifier after ','");
                    return Err(Error::Separator(what));
                }
            }
            (_, text) => {
                let what = format!("found '{text}', expected: ',' or 'end of string'");
                return Err(Error::Separator(what));
            }
        }
    }
    requirements.sort_by(|a: &Requirement, b| a.key.cmp(&b.key));
    Ok(requirements)
}

fn validate(key: &str, operator: Operator, values: &[String]) -> Result<(), String> {
    let mut errors = Errors::new();
    let wrong = names::qualified_name(key);
    if !wrong.is_empty() {
        errors.push(field::Error::invalid(&Path::root(), key, wrong.join("; ")));
    }
    if matches!(operator, Operator::GreaterThan | Operator::LessThan)
        && values.iter().any(|value| value.parse::<i64>().is_err())
    {
        let what = "for 'Gt', 'Lt' operators, the value must be an integer";
        let value = values.first().map(String::as_str).unwrap_or_default();
        errors.push(field::Error::invalid(&Path::new("values").index(0), value, what));
    }
    for (index, value) in values.iter().enumerate() {
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            let path = Path::new("values").index(index).key(key);
            errors.push(field::Error::invalid(&path, value.as_str(), wrong.join("; ")));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.aggregate()) }
}

/// The conditions of a field selector.
pub(super) fn fields(text: &str) -> Result<Vec<FieldRequirement>, Error> {
    let mut requirements = Vec::new();
    for part in split_unescaped(text) {
        if part.is_empty() {
            continue;
        }
        let Some((field, equal, value)) = split_operator(part) else {
            return Err(Error::Field { selector: text.to_owned(), part: part.to_owned() });
        };
        requirements.push(FieldRequirement {
            field: field.to_owned(),
            equal,
            value: unescape(value),
        });
    }
    Ok(requirements)
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == ',' {
            parts.push(&text[start..at]);
            start = at + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_operator(part: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in part.char_indices() {
        let rest = &part[at..];
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((&part[..at], equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    text
}
