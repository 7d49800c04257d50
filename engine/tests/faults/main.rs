//! What happens when something breaks, and how the engine begins and ends.
//!
//! Needs root. Each test makes two network namespaces of its own. `VOS_ENGINE=PATH` runs another build of the engine:
//! a deliberately broken one, to see a test fail.

/// Budgets of gateways, over reloads, restarts and starts that fail.
mod budgets;
/// What threads of the API are kept from.
mod confinement;
/// Where a system call is made per packet, and where none is.
mod cost;
/// The engine dies, stops, starts again; its relay is cut off.
mod death;
/// Generic XDP and raw injection.
mod generic;
/// What threads may still do.
mod privileges;
/// The configuration is read again, and rules are switched, while packets flow.
mod reload;
/// Two hosts, a wire, and the engine.
mod site;
/// Starts that are refused, and what they leave.
mod start;
/// Normal ends, `unload`, and what changes while the engine runs.
mod stop;
