//! Floods, forgeries and scans against a registrar with digest authentication: what gets through, who still calls, and
//! whether the books balance.
//!
//! The server is an unmodified Kamailio; what it has seen is told by its log, what the filter has done by the kernel's
//! own maps. Needs root; each test makes namespaces of its own and removes them. Every limit is checked as an upper
//! bound that follows from its rate and burst, so a slow machine fails no test.

/// An attack on a running site, found by itself.
mod attack;
/// What ends, ends without the engine.
mod expiry;
/// Datagrams in fragments.
mod fragments;
/// Packets made by hand, sent so that none is lost before the filter.
mod frames;
/// Trunks that call more than they may.
mod gateways;
/// The kernel's maps as they are pinned, and the ledgers.
mod ledger;
/// Who asks for what is not there, and who tries one password on many accounts.
mod offenders;
/// Who is asked whether they are there, and who answers.
mod online;
/// Phones that register and call.
mod phone;
/// Floods of new addresses, and what they leave of a prefix' budget.
mod prefixes;
/// What is written down of calls, in peace and in an attack.
mod records;
/// Floods in attack mode, and in a phone's name.
mod registers;
/// Who is registered from where, and what no phone sends.
mod registrations;
/// Scans: what is captured of them, and what they learn.
mod scans;
/// Two hosts, a wire of four queues, the engine, and a registrar.
mod site;
/// Who guesses passwords, and who is next to them.
mod suspensions;
/// Who is verified, and who is not.
mod verified;
