/// What happens to calls when backends die, return, are drained, come and go.
mod backends;
/// Requests and answers, both ways, of both families.
mod messages;
/// A telephone system and its phones.
mod registrar;
/// The engine before them, and what it says of them.
mod site;
/// Who is behind the engine.
mod softswitch;
