//! Many things asked for at once, such as an import: in runs, so that nobody else waits for all of them, and still one set
//! of the history.

use std::sync::Arc;

use ipnet::IpNet;
use prefix_trie::joint::map::JointPrefixMap;

use crate::control::ask::{Ask, By, Done, Refusal};
use crate::control::decide::{Control, Named};
use crate::control::decision::{Decision, Kind, Made};
