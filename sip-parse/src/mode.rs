/// Whose reading of a message is wanted.
///
/// [`Strict`](Self::Strict) is the standard's; [`Lenient`](Self::Lenient) that of the servers a
/// shield stands before, OpenSIPS and Kamailio. What strict mode accepts, lenient mode accepts too
/// and reads alike, but for the case of methods and blanks before a reason.
///
/// Beyond that, lenient mode accepts what at least one of the two servers accepts, and reads it as
/// that server does; what they would split differently it refuses, so that nothing hides between two
/// readings. Some of what it accepts no server acts on. The rules, with the section of RFC 3261 that
/// strict mode follows; `tests/kamailio.rs` shows for each what Kamailio does with it:
///
/// | | strict | lenient |
/// |---|---|---|
/// | **The message** | | |
/// | before the start line | CRLFs (§7.5) | any CR and LF |
/// | end of a line | CRLF (§7) | LF, with or without a CR before it |
/// | CR without LF before the body | refused (§7) | refused: for servers it ends some headers and hides the rest of others |
/// | no empty line behind the last header | refused (§7) | the body is empty |
/// | header that a message has once, twice | refused (§7.3.1) | the first counts |
/// | missing Via, From, To, Call-ID, CSeq | refused (§8.1.1) | refused when it is asked for |
/// | missing Max-Forwards | accepted: RFC 2543 had none (§16.6) | accepted |
/// | Content-Length beyond the datagram | refused (§18.3) | the body is what there is |
/// | Content-Length short of the datagram | the rest is ignored (§18.3) | the same |
/// | Content-Length twice | refused (§7.3.1) | refused if they differ |
/// | header that nobody asks for by value | follows its grammar (§20, §25.1) | anything |
/// | **The start line** | | |
/// | method in lower case | another method (§7.1) | the same method |
/// | blanks before and behind the version | one space (§7.1) | any |
/// | version other than SIP/2.0 | refused (§7.1) | refused |
/// | Request-URI with headers | refused (§19.1.1) | accepted |
/// | status code | 100 to 699 (§7.2, §21) | three digits |
/// | blanks before the reason | one space, more are part of it (§7.2) | passed over |
/// | **Addresses and URIs** | | |
/// | characters of a URI | those of its part (§25.1) | all but blanks, control characters, `<`, `>`, `"` |
/// | empty port, empty URI parameter | refused (§25.1) | no port, an empty name or value |
/// | name of a host | letters, digits, hyphens (§25.1) | all that parts nothing |
/// | white space inside `<` and `>` | refused (§25.1) | trimmed |
/// | display name without quotes | tokens (§25.1) | all but `<`, `>`, `"`, `;` and the backslash |
/// | `?` in a URI without brackets | refused (§20.10) | part of the URI |
/// | `,` in From or To without brackets or quotes | refused (§20.10) | text |
/// | parameter of a header | token, and token, host or quoted string (§25.1) | all that parts nothing; the value may be empty |
/// | parameter twice | the last counts | the same |
/// | `tag` without a value | no tag | no tag |
/// | **Single headers** | | |
/// | Via: `rport` that is no port number | refused (RFC 3581 §3) | as if it had no value |
/// | Via: comment at the end | refused (§25.1) | passed over |
/// | Via, Contact, Route: nothing between two commas | refused (§25.1) | passed over |
/// | Route without brackets | refused (§20.34) | accepted |
/// | CSeq from 2³¹ to 2³²-1 | refused (§8.1.1.5) | accepted |
/// | CSeq with another method than the start line | refused (§8.1.1.5) | accepted |
/// | Authorization, challenges | a scheme and its parameters (§25.1) | what stands before the first flaw |
/// | Call-ID | `word` or `word@word` (§25.1) | anything that does not end in NUL |
/// | Max-Forwards beyond 255 | refused (§20.22) | accepted |
///
/// Some of what only one server accepts is refused all the same: a version other than SIP/2.0 and
/// methods that are no token (either gives a request that no known one can be mistaken for, and the
/// first is dropped before it gets here), names of headers that are no token, a number in CSeq that
/// is not made of digits, and brackets around what an IPv6 address is not made of.
///
/// Names of headers that hold `!`, `%`, `*`, `'` or a backquote are legal, but end the headers for
/// Kamailio, if it looks beyond them at all; they are accepted in both modes.
///
/// A few readings differ from a server's where following it would mean to copy a mistake: Kamailio
/// takes a parameter `ali` of a Via for its branch, both end a quoted string in credentials at an
/// escaped quote, and Kamailio ignores a Content-Length that is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// What the grammar of RFC 3261 §25.1 and the text around it allow.
    Strict,
    /// What OpenSIPS and Kamailio read.
    #[default]
    Lenient,
}

impl Mode {
    pub(crate) fn is_strict(self) -> bool {
        self == Self::Strict
    }
}
