/// What happens to calls when backends die, return, are drained, come and go.
mod backends;
/// Requests and answers, both ways, of both families.
mod messages;
/// Two hosts, a wire, and the engine.
mod site;
/// Who is behind the engine.
mod softswitch;
