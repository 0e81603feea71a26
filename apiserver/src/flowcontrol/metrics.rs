//! What priority and fairness count, under upstream's names.

use std::sync::LazyLock;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    register_gauge, register_gauge_vec, register_histogram_vec, register_int_counter_vec,
    register_int_gauge_vec,
};

use super::{demand::Demand, queues::Refusal, shares::Limits};

const LEVEL: &[&str] = &["priority_level"];
const BOTH: &[&str] = &["priority_level", "flow_schema"];
/// Upstream's buckets of durations.
const DURATIONS: [f64; 12] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];
/// Upstream's buckets of lengths of queues.
const LENGTHS: [f64; 8] = [0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];

macro_rules! gauge {
    ($name:literal, $help:literal) => {
        LazyLock::new(|| {
            register_gauge_vec!(concat!("apiserver_flowcontrol_", $name), $help, LEVEL)
                .expect("the name is free")
        })
    };
}

static REJECTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "apiserver_flowcontrol_rejected_requests_total",
        "Number of requests rejected by API Priority and Fairness subsystem",
        &["priority_level", "flow_schema", "reason"]
    )
    .expect("the name is free")
});
static DISPATCHED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "apiserver_flowcontrol_dispatched_requests_total",
        "Number of requests executed by API Priority and Fairness subsystem",
        BOTH
    )
    .expect("the name is free")
});
static EXECUTING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "apiserver_flowcontrol_current_executing_requests",
        "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem",
        BOTH
    )
    .expect("the name is free")
});
static SEATS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "apiserver_flowcontrol_current_executing_seats",
        "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem",
        BOTH
    )
    .expect("the name is free")
});
static WAITING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "apiserver_flowcontrol_current_inqueue_requests",
        "Number of requests currently pending in queues of the API Priority and Fairness subsystem",
        BOTH
    )
    .expect("the name is free")
});
static QUEUE_LENGTH: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        "apiserver_flowcontrol_request_queue_length_after_enqueue",
        "Length of queue in the API Priority and Fairness subsystem, as seen by each request after it is enqueued",
        BOTH,
        LENGTHS.to_vec()
    )
    .expect("the name is free")
});
static WAITED: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        "apiserver_flowcontrol_request_wait_duration_seconds",
        "Length of time a request spent waiting in its queue",
        &["priority_level", "flow_schema", "execute"],
        DURATIONS.to_vec()
    )
    .expect("the name is free")
});
static LASTED: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        "apiserver_flowcontrol_request_execution_seconds",
        "Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API Priority and Fairness subsystem",
        &["priority_level", "flow_schema", "type"],
        DURATIONS.to_vec()
    )
    .expect("the name is free")
});
static WIDTH: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        "apiserver_flowcontrol_work_estimated_seats",
        "Number of estimated seats (maximum of initial and final seats) associated with requests in API Priority and Fairness",
        BOTH,
        vec![1.0, 2.0, 4.0, 10.0]
    )
    .expect("the name is free")
});
static NOMINAL: LazyLock<GaugeVec> = gauge!(
    "nominal_limit_seats",
    "Nominal number of execution seats configured for each priority level"
);
static LOWER: LazyLock<GaugeVec> = gauge!(
    "lower_limit_seats",
    "Configured lower bound on number of execution seats available to each priority level"
);
static UPPER: LazyLock<GaugeVec> = gauge!(
    "upper_limit_seats",
    "Configured upper bound on number of execution seats available to each priority level"
);
static DEMAND_HIGH: LazyLock<GaugeVec> = gauge!(
    "demand_seats_high_watermark",
    "High watermark, over last adjustment period, of demand_seats"
);
static DEMAND_AVERAGE: LazyLock<GaugeVec> = gauge!(
    "demand_seats_average",
    "Time-weighted average, over last adjustment period, of demand_seats"
);
static DEMAND_DEVIATION: LazyLock<GaugeVec> = gauge!(
    "demand_seats_stdev",
    "Time-weighted standard deviation, over last adjustment period, of demand_seats"
);
static DEMAND_SMOOTHED: LazyLock<GaugeVec> =
    gauge!("demand_seats_smoothed", "Smoothed seat demands");

/// Seats of a level now, with what it lends and borrows.
pub(super) static CURRENT_LIMIT: LazyLock<GaugeVec> = gauge!(
    "current_limit_seats",
    "current derived number of execution seats available to each priority level"
);
/// What a level was to get in proportion.
pub(super) static TARGET: LazyLock<GaugeVec> = gauge!("target_seats", "Seat allocation targets");
/// Which part of its target every level gets.
pub(super) static FAIR_FRACTION: LazyLock<Gauge> = LazyLock::new(|| {
    register_gauge!(
        "apiserver_flowcontrol_seat_fair_frac",
        "Fair fraction of server's concurrency to allocate to each priority level that can use it"
    )
    .expect("the name is free")
});

/// The counters of one schema, looked up once.
pub(super) struct OfSchema {
    pub(super) served: IntCounter,
    pub(super) serving: IntGauge,
    pub(super) seats: IntGauge,
    pub(super) waiting: IntGauge,
    pub(super) queue_length: Histogram,
    pub(super) waited_served: Histogram,
    pub(super) waited_refused: Histogram,
    pub(super) lasted: Histogram,
    pub(super) lasted_watch: Histogram,
    pub(super) width: Histogram,
}

impl OfSchema {
    pub(super) fn new(level: &str, schema: &str) -> OfSchema {
        let both = &[level, schema];
        OfSchema {
            served: DISPATCHED.with_label_values(both),
            serving: EXECUTING.with_label_values(both),
            seats: SEATS.with_label_values(both),
            waiting: WAITING.with_label_values(both),
            queue_length: QUEUE_LENGTH.with_label_values(both),
            waited_served: WAITED.with_label_values(&[level, schema, "true"]),
            waited_refused: WAITED.with_label_values(&[level, schema, "false"]),
            lasted: LASTED.with_label_values(&[level, schema, "regular"]),
            lasted_watch: LASTED.with_label_values(&[level, schema, "watch"]),
            width: WIDTH.with_label_values(both),
        }
    }
}

/// A request was sent away.
pub(super) fn refused(level: &str, schema: &str, why: Refusal) {
    REJECTED.with_label_values(&[level, schema, why.name()]).inc();
}

/// The seats of a level, by its object.
pub(super) fn limits(level: &str, limits: Limits) {
    for (gauge, seats) in [(&NOMINAL, limits.nominal), (&LOWER, limits.min), (&UPPER, limits.max)] {
        gauge.with_label_values(&[level]).set(f64::from(seats));
    }
}

/// What a level was asked for.
pub(super) fn demand(level: &str, demand: &Demand, smoothed: f64) {
    let set = |gauge: &GaugeVec, value: f64| gauge.with_label_values(&[level]).set(value);
    set(&DEMAND_HIGH, demand.high());
    set(&DEMAND_AVERAGE, demand.average());
    set(&DEMAND_DEVIATION, demand.deviation());
    set(&DEMAND_SMOOTHED, smoothed);
}

/// A count, as observed.
#[expect(clippy::cast_precision_loss, reason = "queues are short")]
pub(super) fn count(number: usize) -> f64 {
    number as f64
}
