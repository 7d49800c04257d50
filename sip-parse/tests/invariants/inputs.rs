//! Inputs that tempt a reader to go over the same bytes again and again: each is one piece, repeated
//! until it is as long as wanted. Twice the length may take twice the time, no more.

/// A hostile input of any length.
pub(crate) struct Hostile {
    pub(crate) name: &'static str,
    place: Place,
    before: &'static str,
    /// A `#` in it becomes the number of the repetition: no two are alike.
    piece: &'static str,
    after: &'static str,
}

/// Where in an otherwise ordinary message the pieces stand.
#[derive(Clone, Copy)]
enum Place {
    /// Before the start line.
    Front,
    /// In place of the start line.
    StartLine,
    /// In place of the Request-URI.
    RequestUri,
    /// Header lines of their own.
    Headers,
    /// The value of this header.
    Value(&'static str),
    Body,
}

const HEADERS: &[(&str, &str)] = &[
    ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
    ("From", "<sip:a@example.com>;tag=1"),
    ("To", "<sip:b@example.com>"),
    ("Call-ID", "1@192.0.2.1"),
    ("CSeq", "1 INVITE"),
    ("Max-Forwards", "70"),
    ("Contact", "<sip:a@192.0.2.1>"),
    ("Content-Type", "application/sdp"),
];

const fn hostile(
    name: &'static str,
    place: Place,
    before: &'static str,
    piece: &'static str,
    after: &'static str,
) -> Hostile {
    Hostile { name, place, before, piece, after }
}

use Place::{Body, Front, Headers, RequestUri, StartLine, Value};

/// In the order of a message.
pub(crate) const MESSAGES: &[Hostile] = &[
    hostile("line ends in front", Front, "", "\r\n", ""),
    hostile("line feeds in front", Front, "", "\n", ""),
    hostile("methods", StartLine, "", "INVITE", " sip:a@b SIP/2.0"),
    hostile("spaces in the start line", StartLine, "INVITE", " ", "sip:a@b SIP/2.0"),
    hostile("a reason", StartLine, "SIP/2.0 200 ", "\u{e9}", ""),
    hostile("a Request-URI with parameters", RequestUri, "sip:a@example.com", ";p#=v", ""),
    hostile("a Request-URI with headers", RequestUri, "sip:a@example.com?a=b", "&h#=v", ""),
    hostile("headers", Headers, "", "X: y\r\n", ""),
    hostile("headers of different names", Headers, "", "X-#: y\r\n", ""),
    hostile("headers without a value", Headers, "", "X:\r\n", ""),
    hostile("headers of a compact name", Headers, "", "s: a\r\n", ""),
    hostile("header names", Headers, "", "X", ": y\r\n"),
    hostile("blanks before a colon", Headers, "X", " ", ": y\r\n"),
    hostile("lines without a colon", Headers, "X\r\n", "X\r\n", ""),
    hostile("colons", Headers, "X:", ":", "\r\n"),
    hostile("folds", Headers, "X: a", "\r\n b", "\r\n"),
    hostile("folds of nothing", Headers, "X: a", "\r\n ", "\r\n"),
    hostile("headers with folds", Headers, "", "Subject: a\r\n b\r\n\t c\r\n", ""),
    hostile("headers that end in blanks", Headers, "", "X: y                              \r\n", ""),
    hostile("blanks in values", Value("Subject"), "a", " ", "b"),
    hostile("line feeds alone", Headers, "", "X: y\n", ""),
    hostile("carriage returns", Value("Subject"), "a", "\r", "b"),
    hostile("bytes outside ASCII", Value("Subject"), "", "\u{20ac}", ""),
    hostile("Via lines", Headers, "", "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK#\r\n", ""),
    hostile("compact Via lines", Headers, "", "v:SIP/2.0/UDP h\r\n", ""),
    hostile("Vias in a line", Value("Via"), "SIP/2.0/UDP h", ",SIP/2.0/UDP h", ""),
    hostile("Vias in a line and none at its end", Value("Via"), "SIP/2.0/UDP h", ",SIP/2.0/UDP h", ","),
    hostile("Via parameters", Value("Via"), "SIP/2.0/UDP h", ";p#=v", ""),
    hostile("Via parameters of one name", Value("Via"), "SIP/2.0/UDP h", ";branch=z9hG4bK#", ""),
    hostile("a Via parameter with escapes", Value("Via"), "SIP/2.0/UDP h;p=\"", "\\\"", "\""),
    hostile("a Via parameter without an end", Value("Via"), "SIP/2.0/UDP h;p=\"", "\\\"", ""),
    hostile("blanks in a Via", Value("Via"), "SIP / 2.0 / UDP h", " ", ";branch=z9hG4bK1"),
    hostile("a Via of colons", Value("Via"), "SIP/2.0/UDP [", ":", "]"),
    hostile("From parameters", Value("From"), "<sip:a@b>", ";p#=v", ""),
    hostile("From parameters of one name", Value("From"), "<sip:a@b>", ";tag=#", ""),
    hostile("a From of quotes", Value("From"), "", "\"", " <sip:a@b>;tag=1"),
    hostile("a From of quoted strings", Value("From"), "", "\"a\" ", "<sip:a@b>;tag=1"),
    hostile("a From of escaped quotes", Value("From"), "\"", "\\\"", "\" <sip:a@b>;tag=1"),
    hostile("a From of backslashes", Value("From"), "\"", "\\", "\" <sip:a@b>;tag=1"),
    hostile("a From of words", Value("From"), "", "a ", "<sip:a@b>;tag=1"),
    hostile("a From of brackets", Value("From"), "", "<", "sip:a@b>;tag=1"),
    hostile("a From of closing brackets", Value("From"), "<sip:a@b", ">", ";tag=1"),
    hostile("a From without brackets", Value("From"), "sip:a@b", ";p#=v", ";tag=1"),
    hostile("To lines", Headers, "", "To: <sip:b@example.com>\r\n", ""),
    hostile("To lines with quotes left open", Headers, "", "To: \"b\r\n", ""),
    hostile("a Call-ID", Value("Call-ID"), "a", "@a", ""),
    hostile("zeros in CSeq", Value("CSeq"), "", "0", "1 INVITE"),
    hostile("digits in CSeq", Value("CSeq"), "", "9", " INVITE"),
    hostile("blanks in CSeq", Value("CSeq"), "1", " ", "INVITE"),
    hostile("zeros in Max-Forwards", Value("Max-Forwards"), "", "0", "70"),
    hostile("Max-Forwards lines", Headers, "", "Max-Forwards: 70\r\n", ""),
    hostile("Content-Length lines", Headers, "", "l: 0\r\n", ""),
    hostile("Contacts in a line", Value("Contact"), "<sip:a@b>", ",<sip:a@b>", ""),
    hostile("Contacts without brackets", Value("Contact"), "sip:a@b", ",sip:a@b", ""),
    hostile("Contact lines", Headers, "", "m: sip:a@b\r\n", ""),
    hostile("Contact lines with quotes left open", Headers, "", "m: \"a\r\n", ""),
    hostile("Contacts of quotes", Value("Contact"), "", "\"", "<sip:a@b>"),
    hostile("Contacts of brackets", Value("Contact"), "", "<", "sip:a@b>"),
    hostile("Contacts of commas", Value("Contact"), "<sip:a@b>", ",", "<sip:a@b>"),
    hostile("Contacts of stars", Value("Contact"), "*", ",*", ""),
    hostile("Contact parameters", Value("Contact"), "<sip:a@b>", ";p#=\"v\"", ""),
    hostile("Contact parameters of one name", Value("Contact"), "<sip:a@b>", ";q=0.5", ""),
    hostile("semicolons in a Contact", Value("Contact"), "<sip:a@b>", ";", ""),
    hostile("Routes in a line", Value("Route"), "<sip:a;lr>", ",<sip:a;lr>", ""),
    hostile("Route lines", Headers, "", "Route: <sip:a;lr>\r\n", ""),
    hostile("Record-Route lines", Headers, "", "Record-Route: <sip:a;lr>\r\n", ""),
    hostile("digest parameters", Value("Authorization"), "Digest username=\"a\"", ",p#=\"v\"", ""),
    hostile("digest parameters of one name", Value("Authorization"), "Digest realm=\"a\"", ",realm=\"a\"", ""),
    hostile("digest parameters without values", Value("Proxy-Authorization"), "Digest a", ",a", ""),
    hostile("digest parameters of commas", Value("Authorization"), "Digest a=b", ",", ""),
    hostile("credentials in a line", Value("Authorization"), "Digest a=b", ", Digest a=b", ""),
    hostile("challenges in a line", Value("WWW-Authenticate"), "Digest a=b", ",Digest a=b,c=\"d\"", ""),
    hostile("challenges without parameters", Value("Proxy-Authenticate"), "Digest", ",Digest", ""),
    hostile("challenge lines", Headers, "", "WWW-Authenticate: Digest realm=\"a\"\r\n", ""),
    hostile("quotes in a challenge", Value("WWW-Authenticate"), "Digest a=", "\"", ""),
    hostile("words in a challenge", Value("WWW-Authenticate"), "Digest a=b", ",c d", ""),
    hostile("methods allowed", Value("Allow"), "INVITE", ",INVITE", ""),
    hostile("commas in Allow", Value("Allow"), "INVITE", ",", ""),
    hostile("options supported", Value("Supported"), "a", ", b#", ""),
    hostile("Supported lines", Headers, "", "k: 100rel\r\n", ""),
    hostile("options required", Value("Require"), "a", "\r\n ,b", ""),
    hostile("comments", Value("User-Agent"), "a ", "(", "b"),
    hostile("comments closed again", Value("User-Agent"), "a ", "(b) ", ""),
    hostile("comments within comments", Value("Retry-After"), "5 (", "(a)", ")"),
    hostile("escapes in a comment", Value("Retry-After"), "5 (", "\\)", ")"),
    hostile("products", Value("User-Agent"), "a/1", " b/2", ""),
    hostile("warnings", Value("Warning"), "399 a \"b\"", ",399 a \"b\"", ""),
    hostile("media types", Value("Accept"), "a/b", ",a/b;q=0.5", ""),
    hostile("media type parameters", Value("Content-Type"), "application/sdp", ";p#=v", ""),
    hostile("languages", Value("Accept-Language"), "en", ", en-gb;q=0.5", ""),
    hostile("information about a call", Value("Call-Info"), "<sip:a>", ",<sip:a>;purpose=icon", ""),
    hostile("Event parameters", Value("Event"), "presence", ";p#=v", ""),
    hostile("call identifiers", Value("In-Reply-To"), "a@b", ",a@b", ""),
    hostile("media", Body, SESSION, "m=audio 49170 RTP/AVP 0\r\n", ""),
    hostile("media with attributes", Body, SESSION, "m=audio 49170 RTP/AVP 0\r\na=rtcp:1\r\na=sendonly\r\n", ""),
    hostile("media with connections", Body, SESSION, "m=audio 1 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n", ""),
    hostile("attributes of a session", Body, SESSION, "a=b\r\n", ""),
    hostile("formats", Body, "v=0\r\no=- 0 0 IN IP4 h\r\ns=-\r\nt=0 0\r\nm=audio 1 RTP/AVP 0", " 0", "\r\n"),
    hostile("lines of a session without an end", Body, SESSION, "a", ""),
    hostile("empty lines in a session", Body, SESSION, "\r\n", ""),
];

const SESSION: &str = "v=0\r\no=- 0 0 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";

/// What a Request-URI, a `From` and a `Contact` may hold. The user has no case, so that what differs
/// in nothing but case is compared to the end.
pub(crate) const URIS: &[Hostile] = &[
    hostile("parameters", RequestUri, "sip:1@example.com", ";p#=v", ""),
    hostile("parameters without values", RequestUri, "sip:1@example.com", ";p#", ""),
    hostile("parameters of one name", RequestUri, "sip:1@example.com", ";p=v", ""),
    hostile("parameters with escapes", RequestUri, "sip:1@example.com", ";%70%#=%76", ""),
    hostile("semicolons", RequestUri, "sip:1@example.com", ";", ""),
    hostile("headers", RequestUri, "sip:1@example.com?a=b", "&h#=v", ""),
    hostile("headers of one name", RequestUri, "sip:1@example.com?a=b", "&h=v", ""),
    hostile("ampersands", RequestUri, "sip:1@example.com?", "&", ""),
    hostile("question marks", RequestUri, "sip:1@example.com", "?", ""),
    hostile("escapes", RequestUri, "sip:", "%41", "@example.com"),
    hostile("escapes that are none", RequestUri, "sip:", "%", "@example.com"),
    hostile("user parameters", RequestUri, "sip:+1", ";p#=v", "@example.com"),
    hostile("passwords", RequestUri, "sip:a", ":a", "@example.com"),
    hostile("users", RequestUri, "sip:a", "@a", ""),
    hostile("a user without a host", RequestUri, "sip:", "a", ""),
    hostile("labels", RequestUri, "sip:a@a", ".a", ""),
    hostile("dots", RequestUri, "sip:a@a", ".", ""),
    hostile("numbers in an address", RequestUri, "sip:a@1", ".1", ""),
    hostile("colons in an address", RequestUri, "sip:a@[", ":", "]"),
    hostile("numbers in an IPv6 address", RequestUri, "sip:a@[1", ":1", "]"),
    hostile("brackets", RequestUri, "sip:a@", "[", ""),
    hostile("digits of a port", RequestUri, "sip:a@b:", "0", "5060"),
    hostile("a telephone number", RequestUri, "tel:+1", "-1", ""),
    hostile("parameters of a telephone number", RequestUri, "tel:+1", ";p#=v", ""),
    hostile("a name", RequestUri, "urn:service:sos", ".a", ""),
    hostile("a scheme", RequestUri, "a", "b", ":c"),
    hostile("colons", RequestUri, "http:", ":", ""),
];

impl Hostile {
    /// The URI of up to `length` bytes; of [`URIS`] only.
    pub(crate) fn uri(&self, length: usize) -> Vec<u8> {
        self.pieces(length).into_bytes()
    }

    /// The message of up to `length` bytes.
    pub(crate) fn message(&self, length: usize) -> Vec<u8> {
        let without_pieces = self.around("").len();
        self.around(&self.pieces(length.saturating_sub(without_pieces))).into_bytes()
    }

    /// As many as fit.
    fn pieces(&self, length: usize) -> String {
        let mut text = String::from(self.before);
        for number in 0.. {
            let piece = self.piece.replace('#', &number.to_string());
            if text.len() + piece.len() + self.after.len() > length {
                break;
            }
            text.push_str(&piece);
        }
        text + self.after
    }

    fn around(&self, pieces: &str) -> String {
        let mut text = match self.place {
            Front => format!("{pieces}INVITE sip:b@example.com SIP/2.0\r\n"),
            StartLine => format!("{pieces}\r\n"),
            RequestUri => format!("INVITE {pieces} SIP/2.0\r\n"),
            Headers | Value(_) | Body => String::from("INVITE sip:b@example.com SIP/2.0\r\n"),
        };
        for (name, value) in HEADERS {
            match self.place {
                Value(replaced) if replaced == *name => {}
                _ => text.push_str(&format!("{name}: {value}\r\n")),
            }
        }
        match self.place {
            Headers => text + pieces + "\r\n",
            Value(name) => format!("{text}{name}: {pieces}\r\n\r\n"),
            Body => format!("{text}\r\n{pieces}"),
            Front | StartLine | RequestUri => text + "\r\n",
        }
    }
}
