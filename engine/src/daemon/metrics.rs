//! What the engine shows on the page of metrics: packets, queues, relay, softswitch.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::registry::Unit;
use vos_common::reason::Reason;

use super::view::{Shape, View};
use crate::control::metrics::{measure_cluster, measure_feeds};
use crate::detector::{Reading, State};
use crate::events::SoftswitchState;
use crate::metrics::{Measured, Page};
use crate::pipeline::Class;
use crate::policy::gateways::GatewayView;
use crate::policy::{BindingCount, EndpointState, RegistrationCount};
use crate::records::{Kind, Loss};
use crate::relay::Counts;
use crate::transmit::Sent;
use crate::worker::Stats;

impl Measured for View {
    fn measure(&self, page: &mut Page<'_>) -> fmt::Result {
        page.info("vos_build", "The program", [("version", env!("CARGO_PKG_VERSION"))])?;
        let Shape { mode, .. } = &self.shape;
        let labels = [("mode", mode.word()), ("xdp", self.xdp()), ("bind", self.bind()), ("inject", self.inject())];
        page.info("vos_engine", "How the engine is connected", labels)?;
        let help = "When the engine was started, unix time";
        page.gauge("process_start_time", help, Some(Unit::Seconds), self.started)?;
        self.measure_packets(page)?;
        self.measure_queues(page)?;
        self.measure_relay(page)?;
        self.measure_softswitch(page)?;
        let help = "Sources that have proven their address";
        page.gauge("vos_verified_sources", help, None, self.verified.sources() as f64)?;
        page.counter("vos_verified_round_trips", "Proofs of an address that were seen", self.verified.proven())?;
        let help = "Verified sources that others took the place of before their time was over";
        page.counter("vos_verified_displaced", help, self.verified.displaced())?;
        let help = "Writes of verified sources that the kernel refused";
        page.counter("vos_verified_failures", help, self.verified.failed())?;
        self.measure_registrations(page)?;
        self.measure_offences(page)?;
        self.measure_bindings(page)?;
        self.measure_records(page)?;
        let live = self.live.in_force();
        let attack = live.kernel.attack_until > crate::control::clock::Clock::now().mono_ns();
        page.gauge("vos_attack_mode", "Is attack mode on?", None, truth(attack))?;
        self.measure_attack(page)?;
        self.measure_gateways(page)?;
        measure_cluster(self.cluster.as_ref().map(|cluster| cluster.progress()), page)?;
        measure_feeds(&self.tallies.views(), page)
    }
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// What the XDP program did with a packet that it counted so.
fn verdict(reason: Reason) -> &'static str {
    match reason {
        Reason::Redirected => "redirect",
        rule if rule.is_rule() => "drop",
        _ => "pass",
    }
}

impl View {
    fn measure_packets(&self, page: &mut Page<'_>) -> fmt::Result {
        let kernel = || Reason::ALL.iter().copied().filter(|reason| reason.in_kernel());
        let packets = kernel()
            .map(|reason| ([("reason", reason.label()), ("verdict", verdict(reason))], self.counters.reason(reason)));
        let help = "Packets that the XDP program judged, each once, by why and what became of it";
        page.counters("vos_packets", help, packets)?;
        let would = Reason::ALL.iter().copied().filter(|reason| reason.is_rule()).map(|rule| {
            let workers: u64 = self.stats.iter().map(|stats| stats.would_drop(rule)).sum();
            let kernel = if rule.in_kernel() { self.counters.would_drop(rule) } else { 0 };
            ([("reason", rule.label())], kernel + workers)
        });
        let help =
            "Packets that rules in monitor mode would have dropped; what became of them they are counted by as well";
        page.counters("vos_would_drop_packets", help, would)?;
        let rules = || kernel().filter(|reason| reason.is_rule());
        let dropped = rules().map(|rule| ([("reason", rule.label())], self.counters.named_dropped(rule)));
        let help = "Packets of sources that are trusted or allowed which the XDP program dropped; they are in vos_packets, too";
        page.counters("vos_allowed_dropped_packets", help, dropped)?;
        let would = rules().map(|rule| ([("reason", rule.label())], self.counters.named_would_drop(rule)));
        let help = "Packets of sources that are trusted or allowed which the XDP program would have dropped if the rule \
                    were not in monitor mode; they are in vos_would_drop_packets, too";
        page.counters("vos_allowed_would_drop_packets", help, would)?;
        let help =
            "Responses of the softswitch that found no room on their way to user space: what they prove is not seen";
        page.counter("vos_replies_unseen", help, self.counters.replies_lost())
    }

    fn measure_attack(&self, page: &mut Page<'_>) -> fmt::Result {
        let view = self.detector.lock().clone();
        let states = [State::Normal, State::Attack, State::Recovering];
        let each = states.map(|state| ([("state", state.word())], truth(state == view.state)));
        page.gauges("vos_attack_state", "How it stands: one of these is 1", None, each)?;
        page.counter("vos_attacks", "Attacks that were found", view.attacks)?;
        let readings = |get: fn(&Reading) -> f64| {
            view.readings.iter().map(move |reading| ([("signal", reading.signal.label())], get(reading)))
        };
        let help =
            "What attacks show themselves by, in the last second: packets, sources and answers a second, percent";
        page.gauges("vos_attack_signal", help, None, readings(|it| it.value))?;
        page.gauges("vos_attack_usual", "What of it is usual at this time", None, readings(|it| it.usual))?;
        let help = "From when on it is an attack; infinite: it is not looked at";
        page.gauges("vos_attack_limit", help, None, readings(|it| it.limit.unwrap_or(f64::INFINITY)))
    }

    /// Each worker with the number of its queue, in words.
    fn workers(&self) -> Vec<(String, &Stats)> {
        self.stats.iter().enumerate().map(|(queue, stats)| (queue.to_string(), &**stats)).collect()
    }

    fn measure_queues(&self, page: &mut Page<'_>) -> fmt::Result {
        let workers = self.workers();
        let each = |get: &dyn Fn(&Stats) -> u64| -> Vec<_> {
            workers.iter().map(|(queue, stats)| ([("queue", &**queue)], get(stats))).collect()
        };
        page.gauge("vos_queues", "RX queues of the interface that are judged", None, f64::from(self.shape.queues))?;
        let live = workers.iter().map(|(queue, stats)| ([("queue", &**queue)], truth(stats.live())));
        page.gauges("vos_worker_live", "Does the worker turn, and its relay with it?", None, live)?;
        page.counters("vos_worker_received_packets", "Packets from the ring", each(&Stats::received))?;
        let relayed = workers.iter().map(|(queue, stats)| outcome(queue, "relayed", "", stats.relayed()));
        let ended = workers.iter().flat_map(|(queue, stats)| {
            let ended = Reason::ALL.iter().map(|reason| (*reason, stats.ended(*reason)));
            // of the kernel's reasons those that were met here: by datagrams that came in fragments
            let ended = ended.filter(|(reason, n)| !reason.in_kernel() || *n > 0);
            ended.map(|(reason, n)| outcome(queue, fate(reason), reason.label(), n))
        });
        let help =
            "What became of packets from the ring, each once: relayed, answered, taken, dropped or lost, and why";
        page.counters("vos_worker_packets", help, relayed.chain(ended))?;
        let waiting = workers.iter().map(|(queue, stats)| ([("queue", &**queue)], stats.waiting() as f64));
        page.gauges("vos_worker_waiting_packets", "Packets that wait until the relay has room", None, waiting)?;
        let given_up = workers.iter().flat_map(|(queue, stats)| {
            Class::ALL.map(|class| ([("queue", &**queue), ("class", class.label())], stats.given_up_of(class)))
        });
        page.counters(
            "vos_worker_given_up_packets",
            "Packets that were given up under pressure, by what they are",
            given_up,
        )?;
        let sent = workers.iter().flat_map(|(queue, stats)| {
            Sent::ALL.map(|sent| ([("queue", &**queue), ("way", sent.label())], stats.sent(sent)))
        });
        page.counters("vos_worker_sent_packets", "Datagrams to callers, by the way they took", sent)?;
        let socket = workers
            .iter()
            .flat_map(|(queue, stats)| stats.socket().map(|(word, n)| ([("queue", &**queue), ("counter", word)], n)));
        page.counters("vos_xsk_events", "What the kernel counts of AF_XDP sockets (XDP_STATISTICS)", socket)
    }

    fn measure_relay(&self, page: &mut Page<'_>) -> fmt::Result {
        let workers = self.workers();
        let peers = || workers.iter().filter_map(|(queue, stats)| Some((&**queue, stats.counts()?)));
        let present = peers().map(|(queue, counts)| ([("queue", queue)], truth(counts.present())));
        page.gauges("vos_relay_peer_present", "Does the worker find the relay's peer there?", None, present)?;
        let events = peers().flat_map(|(queue, counts)| {
            Counts::all(counts).map(|(word, n)| ([("queue", queue), ("counter", word)], n))
        });
        page.counters("vos_relay_peer_events", "What the worker and the relay's peer have been to each other", events)?;
        let strays = self.board.iter().flat_map(|board| board.strays()).map(|(why, n)| ([("reason", why)], n));
        page.counters("vos_relay_stray_packets", "What came to the relay's sockets and is for nobody, by why", strays)?;
        let backends = self.board.as_ref().map_or_else(Vec::new, |board| board.backends());
        let up = backends.iter().map(|b| ([("backend", &*b.name)], truth(b.state == SoftswitchState::Alive)));
        page.gauges("vos_backend_up", "Is the backend alive?", None, up)?;
        let drained = backends.iter().map(|backend| ([("backend", &*backend.name)], truth(backend.drain)));
        page.gauges("vos_backend_drained", "Does the backend get no new calls?", None, drained)?;
        let sent = backends.iter().map(|backend| ([("backend", &*backend.name)], backend.sent));
        page.counters("vos_backend_sent_packets", "Datagrams that went to the backend", sent)?;
        let received = backends.iter().map(|backend| ([("backend", &*backend.name)], backend.received));
        page.counters("vos_backend_received_packets", "Datagrams that came from the backend", received)
    }

    fn measure_registrations(&self, page: &mut Page<'_>) -> fmt::Result {
        let RegistrationCount { failures, unproven, suspended } = &self.suspensions.count;
        let refusals = [("yes", failures), ("no", unproven)].map(|(word, n)| ([("proven", word)], n.load(Relaxed)));
        let help = "Refused credentials of REGISTERs, by whether their nonce had gone to the sender alone: else they may be \
                    anybody's, and count for nothing";
        page.counters("vos_registration_refusals", help, refusals)?;
        page.counter("vos_registration_suspensions", "Suspensions that began", suspended.load(Relaxed))?;
        page.gauge("vos_registration_suspended", "Who is suspended now", None, self.suspensions.len() as f64)
    }

    fn measure_offences(&self, page: &mut Page<'_>) -> fmt::Result {
        let slowed = &self.live.in_force().ruleset.slowed;
        page.gauge("vos_slowed_sources", "Sources that are slowed now ([enumeration])", None, slowed.len() as f64)?;
        page.counter("vos_slowed", "How often a source has been slowed", slowed.begun())?;
        let offences = self.offences.offences();
        let offences = offences.map(|(evidence, n)| ([("kind", evidence.label())], n));
        page.counters("vos_blacklist_offences", "Offences that give points, by kind ([blacklist])", offences)?;
        let help = "Blocks that were asked for because of too many points";
        page.counter("vos_blacklist_blocks", help, self.offences.blocks.load(Relaxed))
    }

    fn measure_bindings(&self, page: &mut Page<'_>) -> fmt::Result {
        let help = "Bindings of who is registered, as far as the engine has seen since its start";
        page.gauge("vos_registration_bindings", help, None, self.bindings.live() as f64)?;
        let BindingCount { moves: [moved, added], unwatched, .. } = &self.bindings.count;
        let moves = [("moved", moved), ("added", added)].map(|(word, n)| ([("change", word)], n.load(Relaxed)));
        let help = "Addresses-of-record that were registered from another address while they still were from one, by whether the \
                    one before went";
        page.counters("vos_registration_moves", help, moves)?;
        let help = "Registrations of addresses-of-record that there was no room to watch";
        page.counter("vos_registration_unwatched", help, unwatched.load(Relaxed))?;
        let states = EndpointState::ALL.iter().zip(self.online.counts());
        let states = states.map(|(state, n)| ([("state", state.label())], n as f64));
        page.gauges("vos_endpoints", "Endpoints that are asked whether they are there, by what is known", None, states)
    }

    fn measure_records(&self, page: &mut Page<'_>) -> fmt::Result {
        let counts = self.records.counts();
        let written = Kind::ALL.map(|kind| ([("kind", kind.label())], counts.written(kind)));
        page.counters("vos_records_written", "Lines in the file of records, by what they tell", written)?;
        let help = "Calls that are in a summary of their source, and in no line of their own";
        page.counter("vos_records_summarised", help, counts.summarised())?;
        let lost = Loss::ALL.map(|why| ([("why", why.label())], counts.lost(why)));
        page.counters(
            "vos_records_lost",
            "What is not in the file, or not at the broker, as it should be, by why",
            lost,
        )
    }

    fn measure_softswitch(&self, page: &mut Page<'_>) -> fmt::Result {
        let state = self.health.state().map(|state| ([], truth(state == SoftswitchState::Alive)));
        page.gauges(
            "vos_softswitch_up",
            "Does the softswitch, or one of them, answer the engine's OPTIONS?",
            None,
            state,
        )?;
        let (now, episodes, sockets) = self.pressure.seen();
        page.gauge("vos_softswitch_pressed", "Is the softswitch on this host behind?", None, truth(now))?;
        page.counter("vos_softswitch_pressed_episodes", "Times that the softswitch on this host was behind", episodes)?;
        let fill = sockets.iter().map(|socket| f64::from(socket.queued) / f64::from(socket.buffer.max(1)));
        let help = "How full the fullest receive buffer on the SIP ports is, 0 to 1";
        page.gauge(
            "vos_softswitch_buffer_fill",
            help,
            Some(Unit::Other("ratio".to_owned())),
            fill.fold(0.0, f64::max),
        )?;
        let lost = sockets.iter().map(|socket| f64::from(socket.dropped)).sum();
        let help = "Packets that the kernel had no room for, of the sockets that are on the SIP ports now";
        page.gauge("vos_softswitch_lost_packets", help, None, lost)
    }
}

impl View {
    fn measure_gateways(&self, page: &mut Page<'_>) -> fmt::Result {
        let gateways = &self.live.in_force().ruleset.gateways;
        let views = gateways.views(crate::control::clock::Clock::now().mono_ns());
        let each = |get: &dyn Fn(&GatewayView) -> u32| -> Vec<_> {
            views.iter().map(|view| ([("gateway", &*view.name)], f64::from(get(view)))).collect()
        };
        page.gauges("vos_gateway_calls", "Calls of the trunk that are there", None, each(&|view| view.calls))?;
        page.gauges("vos_gateway_max_calls", "Calls that it may have", None, each(&|view| view.max_calls))?;
        page.gauges("vos_gateway_cps", "Calls a second that it may make", None, each(&|view| view.cps))?;
        let passed = views.iter().map(|view| ([("gateway", &*view.name)], view.passed));
        page.counters("vos_gateway_passed_calls", "Calls of the trunk that were let pass", passed)?;
        let beyond = views.iter().flat_map(|view| {
            [(Reason::GatewayCps, view.over_cps), (Reason::GatewayCalls, view.over_calls)]
                .map(|(rule, n)| ([("gateway", &*view.name), ("reason", rule.label())], n))
        });
        let help = "Calls of the trunk beyond a limit: refused, or counted only where the rule is monitored";
        page.counters("vos_gateway_refused_calls", help, beyond)?;
        let long = views.iter().map(|view| ([("gateway", &*view.name)], view.long_calls));
        page.counters("vos_gateway_long_calls", "Calls of the trunk that lasted longer than they may", long)?;
        page.counter(
            "vos_calls_evicted",
            "Calls that were forgotten before they ended, for want of room",
            gateways.evicted(),
        )
    }
}

fn outcome<'a>(queue: &'a str, outcome: &'a str, reason: &'a str, n: u64) -> ([(&'static str, &'a str); 3], u64) {
    ([("queue", queue), ("outcome", outcome), ("reason", reason)], n)
}

/// What became of a packet that ended in a worker for this reason.
fn fate(reason: Reason) -> &'static str {
    match reason {
        Reason::RelayError => "lost",
        answer if answer.is_answer() => "answered",
        taken if taken.is_taken() => "taken",
        _ => "dropped",
    }
}
