//! The text of a query into a tree. The grammar is the part of HQL that a
//! client of OMERO uses in `select` queries.

/// A value, condition or sub-query.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `image.fileset.id`, or an alias alone.
    Path(Vec<String>),
    Text(String),
    Number(String),
    Bool(bool),
    Null,
    Star,
    Call {
        name: String,
        distinct: bool,
        args: Vec<Expr>,
    },
    Binary(&'static str, Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Minus(Box<Expr>),
    In {
        value: Box<Expr>,
        list: Vec<Expr>,
        not: bool,
    },
    InQuery {
        value: Box<Expr>,
        query: Box<Query>,
        not: bool,
    },
    Like {
        value: Box<Expr>,
        pattern: Box<Expr>,
        not: bool,
    },
    Between {
        value: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
        not: bool,
    },
    IsNull {
        value: Box<Expr>,
        not: bool,
    },
    IsEmpty {
        path: Vec<String>,
        not: bool,
    },
    Exists(Box<Query>),
    Query(Box<Query>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// A class of its own, beside the others.
    Cross,
    Inner,
    Left,
}

/// One source of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct From {
    pub join: Join,
    /// A class name, or a path from another alias.
    pub path: Vec<String>,
    pub alias: String,
    pub with: Option<Expr>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    pub distinct: bool,
    pub select: Vec<Expr>,
    pub from: Vec<From>,
    pub filter: Option<Expr>,
    pub group: Vec<Expr>,
    pub having: Option<Expr>,
    pub order: Vec<(Expr, bool)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(String),
    Symbol(&'static str),
}

const SYMBOLS: &[&str] =
    &["<>", "!=", "<=", ">=", "||", "(", ")", ",", ".", "=", "<", ">", "+", "-", "*", "/", ":", "?"];

fn tokens(text: &str) -> Result<Vec<(Token, usize)>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let column = text.len() - rest.len() + 1;
        if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
        } else if c == '\'' {
            // A quote inside is doubled; a backslash is an ordinary character.
            let mut value = String::new();
            let mut chars = rest.char_indices().skip(1).peekable();
            let end = loop {
                match chars.next() {
                    None => {
                        return Err(format!(
                            "expecting ''', found '<EOF>' near line 1, column {column} [{text}]"
                        ));
                    }
                    Some((i, '\'')) => {
                        if matches!(chars.peek(), Some((_, '\''))) {
                            value.push('\'');
                            chars.next();
                        } else {
                            break i + 1;
                        }
                    }
                    Some((_, c)) => value.push(c),
                }
            };
            found.push((Token::Text(value), column));
            rest = &rest[end..];
        } else if c.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let number = &rest[..end];
            found.push((Token::Number(number.to_owned()), column));
            rest = rest[end..].trim_start_matches(['L', 'l']);
        } else if c.is_alphabetic() || c == '_' || c == '$' {
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
            found.push((Token::Word(rest[..end].to_owned()), column));
            rest = &rest[end..];
        } else if let Some(s) = SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
            found.push((Token::Symbol(s), column));
            rest = &rest[s.len()..];
        } else {
            return Err(format!("unexpected char: '{c}' [{text}]"));
        }
    }
    Ok(found)
}

const RESERVED: &[&str] = &[
    "select", "from", "where", "and", "or", "not", "in", "like", "between", "is", "exists", "group", "order",
    "by", "having", "join", "inner", "left", "right", "full", "outer", "fetch", "as", "with", "on", "asc",
    "desc", "distinct", "null", "true", "false", "union",
];

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(Token, usize)>,
    at: usize,
}

/// Parses one whole query.
pub fn parse(text: &str) -> Result<Query, String> {
    let mut p = Parser { text, tokens: tokens(text)?, at: 0 };
    let query = p.query()?;
    if p.at < p.tokens.len() {
        return Err(p.unexpected());
    }
    Ok(query)
}

impl Parser<'_> {
    fn unexpected(&self) -> String {
        match self.tokens.get(self.at) {
            None => format!("unexpected end of subtree [{}]", self.text),
            Some((t, column)) => {
                let shown = match t {
                    Token::Word(w) | Token::Text(w) | Token::Number(w) => w.as_str(),
                    Token::Symbol(s) => s,
                };
                format!("unexpected token: {shown} near line 1, column {column} [{}]", self.text)
            }
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(t, _)| t)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word))
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn need_word(&mut self, word: &str) -> Result<(), String> {
        if self.word(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(s)) if *s == symbol);
        self.at += usize::from(found);
        found
    }

    fn need(&mut self, symbol: &str) -> Result<(), String> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(Token::Word(w)) => {
                let w = w.clone();
                self.at += 1;
                Ok(w)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn path(&mut self) -> Result<Vec<String>, String> {
        let mut path = vec![self.name()?];
        while self.symbol(".") {
            path.push(self.name()?);
        }
        Ok(path)
    }

    fn alias(&mut self) -> Result<Option<String>, String> {
        if self.word("as") {
            return self.name().map(Some);
        }
        match self.peek() {
            Some(Token::Word(w)) if !RESERVED.contains(&w.to_ascii_lowercase().as_str()) => {
                self.name().map(Some)
            }
            _ => Ok(None),
        }
    }

    fn query(&mut self) -> Result<Query, String> {
        let mut q = Query::default();
        if self.word("select") {
            q.distinct = self.word("distinct");
            loop {
                q.select.push(self.sum()?);
                self.alias()?;
                if !self.symbol(",") {
                    break;
                }
            }
        }
        self.need_word("from")?;
        self.sources(&mut q)?;
        if self.word("where") {
            q.filter = Some(self.either()?);
        }
        if self.word("group") {
            self.need_word("by")?;
            q.group = self.list()?;
        }
        if self.word("having") {
            q.having = Some(self.either()?);
        }
        if self.word("order") {
            self.need_word("by")?;
            loop {
                let e = self.sum()?;
                let descending = self.word("desc");
                if !descending {
                    self.word("asc");
                }
                q.order.push((e, descending));
                if !self.symbol(",") {
                    break;
                }
            }
        }
        Ok(q)
    }

    fn sources(&mut self, q: &mut Query) -> Result<(), String> {
        let mut join = Join::Cross;
        loop {
            let path = self.path()?;
            let number = q.from.len();
            let alias = self.alias()?.unwrap_or_else(|| format!("unnamed{number}_"));
            let with = if self.word("with") { Some(self.either()?) } else { None };
            q.from.push(From { join, path, alias, with });
            if self.symbol(",") {
                join = Join::Cross;
                continue;
            }
            join = if self.word("left") {
                self.word("outer");
                self.need_word("join")?;
                Join::Left
            } else if self.word("inner") {
                self.need_word("join")?;
                Join::Inner
            } else if self.word("join") {
                Join::Inner
            } else {
                return Ok(());
            };
            self.word("fetch");
        }
    }

    fn list(&mut self) -> Result<Vec<Expr>, String> {
        let mut all = vec![self.sum()?];
        while self.symbol(",") {
            all.push(self.sum()?);
        }
        Ok(all)
    }

    fn either(&mut self) -> Result<Expr, String> {
        let mut e = self.both()?;
        while self.word("or") {
            e = Expr::Binary("or", Box::new(e), Box::new(self.both()?));
        }
        Ok(e)
    }

    fn both(&mut self) -> Result<Expr, String> {
        let mut e = self.negation()?;
        while self.word("and") {
            e = Expr::Binary("and", Box::new(e), Box::new(self.negation()?));
        }
        Ok(e)
    }

    fn negation(&mut self) -> Result<Expr, String> {
        if self.word("not") {
            return Ok(Expr::Not(Box::new(self.negation()?)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, String> {
        if self.word("exists") {
            self.need("(")?;
            let q = self.query()?;
            self.need(")")?;
            return Ok(Expr::Exists(Box::new(q)));
        }
        let left = self.sum()?;
        for (symbol, sql) in
            [("=", "="), ("<>", "<>"), ("!=", "<>"), ("<=", "<="), (">=", ">="), ("<", "<"), (">", ">")]
        {
            if self.symbol(symbol) {
                return Ok(Expr::Binary(sql, Box::new(left), Box::new(self.sum()?)));
            }
        }
        if self.word("is") {
            let not = self.word("not");
            if self.word("empty") {
                let Expr::Path(path) = left else { return Err(self.unexpected()) };
                return Ok(Expr::IsEmpty { path, not });
            }
            self.need_word("null")?;
            return Ok(Expr::IsNull { value: Box::new(left), not });
        }
        let not = self.word("not");
        let value = Box::new(left);
        if self.word("in") {
            self.need("(")?;
            if self.is_word("select") || self.is_word("from") {
                let query = Box::new(self.query()?);
                self.need(")")?;
                return Ok(Expr::InQuery { value, query, not });
            }
            let list = self.list()?;
            self.need(")")?;
            return Ok(Expr::In { value, list, not });
        }
        if self.word("like") {
            return Ok(Expr::Like { value, pattern: Box::new(self.sum()?), not });
        }
        if self.word("between") {
            let low = Box::new(self.sum()?);
            self.need_word("and")?;
            return Ok(Expr::Between { value, low, high: Box::new(self.sum()?), not });
        }
        if not { Err(self.unexpected()) } else { Ok(*value) }
    }

    fn sum(&mut self) -> Result<Expr, String> {
        let mut e = self.product()?;
        loop {
            let op = if self.symbol("+") {
                "+"
            } else if self.symbol("-") {
                "-"
            } else if self.symbol("||") {
                "||"
            } else {
                return Ok(e);
            };
            e = Expr::Binary(op, Box::new(e), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expr, String> {
        let mut e = self.value()?;
        loop {
            let op = if self.symbol("*") {
                "*"
            } else if self.symbol("/") {
                "/"
            } else {
                return Ok(e);
            };
            e = Expr::Binary(op, Box::new(e), Box::new(self.value()?));
        }
    }

    fn value(&mut self) -> Result<Expr, String> {
        if self.symbol("-") {
            return Ok(Expr::Minus(Box::new(self.value()?)));
        }
        if self.symbol("(") {
            let e = if self.is_word("select") || self.is_word("from") {
                Expr::Query(Box::new(self.query()?))
            } else {
                self.either()?
            };
            self.need(")")?;
            return Ok(e);
        }
        if self.symbol(":") || self.symbol("?") {
            return Err(format!("Not all named parameters have been set [{}]", self.text));
        }
        match self.peek().cloned() {
            Some(Token::Text(t)) => {
                self.at += 1;
                Ok(Expr::Text(t))
            }
            Some(Token::Number(n)) => {
                self.at += 1;
                Ok(Expr::Number(n))
            }
            Some(Token::Word(w)) => match w.to_ascii_lowercase().as_str() {
                "true" | "false" => {
                    self.at += 1;
                    Ok(Expr::Bool(w.eq_ignore_ascii_case("true")))
                }
                "null" => {
                    self.at += 1;
                    Ok(Expr::Null)
                }
                word if RESERVED.contains(&word) => Err(self.unexpected()),
                _ => self.path_or_call(),
            },
            _ => Err(self.unexpected()),
        }
    }

    fn path_or_call(&mut self) -> Result<Expr, String> {
        let path = self.path()?;
        if path.len() > 1 || !self.symbol("(") {
            return Ok(Expr::Path(path));
        }
        let name = path[0].to_ascii_lowercase();
        if self.symbol("*") {
            self.need(")")?;
            return Ok(Expr::Call { name, distinct: false, args: vec![Expr::Star] });
        }
        let distinct = self.word("distinct");
        let args = if self.symbol(")") {
            Vec::new()
        } else {
            let l = self.list()?;
            self.need(")")?;
            l
        };
        Ok(Expr::Call { name, distinct, args })
    }
}
