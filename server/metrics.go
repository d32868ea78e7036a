package server

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
)

// metrics are all that the process counts. No label holds anything that a client can choose.
type metrics struct {
	decisions *prometheus.CounterVec // route, effect, reason
	duration  prometheus.Histogram
	panics    prometheus.Counter
	reported  *prometheus.CounterVec // route

	reloads    *prometheus.CounterVec // result
	reloadOK   prometheus.Gauge
	reloadedAt prometheus.Gauge
	generation prometheus.Gauge
	rules      *prometheus.GaugeVec // enforcer
	linear     *prometheus.GaugeVec // enforcer
}

func newMetrics(registry *prometheus.Registry, store *keys.Store, now func() time.Time) *metrics {
	m := &metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kasbah_decisions_total",
			Help: "Decisions, by route (empty where none matched), effect and reason.",
		}, []string{"route", "effect", "reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kasbah_decision_seconds",
			Help:    "Time from Envoy's question to the answer.",
			Buckets: []float64{5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 200e-3, 1},
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kasbah_panics_total",
			Help: "Panics that were caught; each denied its request.",
		}),
		reported: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kasbah_validation_reported_total",
			Help: "Requests that are not valid and were not refused for it, because that is only to be reported, by route.",
		}, []string{"route"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kasbah_config_reloads_total",
			Help: "Loads of the configuration, by result: ok, error, or unchanged.",
		}, []string{"result"}),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kasbah_config_last_reload_ok",
			Help: "1 if the last load was accepted, 0 if it was refused and an older configuration is in force.",
		}),
		reloadedAt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kasbah_config_last_reload_success_timestamp_seconds",
			Help: "When the configuration in force was loaded.",
		}),
		generation: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kasbah_config_generation",
			Help: "How many configurations have been accepted since the start.",
		}),
		linear: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kasbah_enforcer_linear", Help: "1 if the matcher of an enforcer looks at every rule, so that decisions take longer the more there are; lint says why.",
		}, []string{"enforcer"}),
		rules: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kasbah_enforcer_rules",
			Help: "Rules of the policy in force, by enforcer.",
		}, []string{"enforcer"}),
	}
	registry.MustRegister(m.decisions, m.duration, m.panics, m.reported, m.reloads, m.reloadOK, m.reloadedAt, m.generation, m.rules, m.linear,
		&keyCollector{store: store, now: now})
	return m
}

// decided counts one decision.
func (m *metrics) decided(d *policy.Decision, took time.Duration) {
	m.decisions.WithLabelValues(d.Route, d.Effect.String(), d.Reason.String()).Inc()
	m.duration.Observe(took.Seconds())
	if len(d.Reported) > 0 {
		m.reported.WithLabelValues(d.Route).Inc()
	}
	if d.Err != nil && isPanic(d.Err) {
		m.panics.Inc()
	}
}

func isPanic(err error) bool {
	var panicked *policy.PanicError
	return errors.As(err, &panicked)
}

// loaded counts an accepted load.
func (m *metrics) loaded(s *Snapshot) {
	m.reloads.WithLabelValues("ok").Inc()
	m.reloadOK.Set(1)
	m.reloadedAt.Set(float64(s.loaded.UnixMilli()) / 1000)
	m.generation.Set(float64(s.generation))
	m.rules.Reset()
	m.linear.Reset()
	for name, e := range s.enforcers {
		m.rules.WithLabelValues(name).Set(float64(e.Rules()))
		linear := 0.0
		if e.Linear() != "" {
			linear = 1
		}
		m.linear.WithLabelValues(name).Set(linear)
	}
}

// refused counts a load that was not accepted.
func (m *metrics) refused() {
	m.reloads.WithLabelValues("error").Inc()
	m.reloadOK.Set(0)
}

// unchanged counts a load that found the same files. They are those in force, whatever came between.
func (m *metrics) unchanged() {
	m.reloads.WithLabelValues("unchanged").Inc()
	m.reloadOK.Set(1)
}

var (
	setKeys       = prometheus.NewDesc("kasbah_key_set_keys", "Keys of a remote key set that are in force; 0 where it was never fetched, or too long ago.", []string{"source"}, nil)
	setAge        = prometheus.NewDesc("kasbah_key_set_age_seconds", "Time since the key set was last fetched whole.", []string{"source"}, nil)
	setOK         = prometheus.NewDesc("kasbah_key_set_last_fetch_ok", "1 if the last fetch was accepted, 0 if older keys are in force.", []string{"source"}, nil)
	keptFailed    = prometheus.NewDesc("kasbah_key_set_file_failures_total", "Key sets that could not be read from the folder of key_sets, or written there, by operation.", []string{"operation"}, nil)
	hits          = prometheus.NewDesc("kasbah_credential_cache_hits_total", "Credentials found verified.", nil, nil)
	misses        = prometheus.NewDesc("kasbah_credential_cache_misses_total", "Credentials that had to be verified.", nil, nil)
	asked         = prometheus.NewDesc("kasbah_introspections_total", "Answers of introspection servers about tokens that no answer was remembered of.", []string{"provider", "outcome"}, nil)
	tableUp       = prometheus.NewDesc("kasbah_api_key_store_up", "1 if the API keys of a database are as it has them, 0 if it is out of reach and those that were last read are in force, or none.", []string{"provider", "source"}, nil)
	tableKeys     = prometheus.NewDesc("kasbah_api_key_store_keys", "API keys that were read from a database, those that are revoked or expired among them.", []string{"provider", "source"}, nil)
	tableBroken   = prometheus.NewDesc("kasbah_api_key_store_broken", "Rows of a database that are no API keys; each is logged, and refused.", []string{"provider", "source"}, nil)
	tableRead     = prometheus.NewDesc("kasbah_api_key_store_last_read_timestamp_seconds", "When the API keys were last known to be as their database has them.", []string{"provider", "source"}, nil)
	enriched      = prometheus.NewDesc("kasbah_enrichments_total", "Answers of servers that were asked more of a caller, by outcome: ok, refused, or failed.", []string{"provider", "outcome"}, nil)
	ownTokens     = prometheus.NewDesc("kasbah_internal_tokens_total", "Tokens of our own for upstreams, by outcome: minted, reused, or failed.", []string{"outcome"}, nil)
	proofs        = prometheus.NewDesc("kasbah_proofs_remembered", "Proofs of possession that were used and are remembered in memory, so that they are used once.", nil, nil)
	doubted       = prometheus.NewDesc("kasbah_proofs_doubted_total", "Good proofs by what was wrong all the same: replayed, full where there was no room to remember them, or failed where the memory that replicas share gave no answer. All were refused, but those that failed with on_failure go_on.", []string{"cause"}, nil)
	replayUp      = prometheus.NewDesc("kasbah_replay_store_up", "1 if the memory of proofs that replicas share gave an answer when it was last asked, 0 if it did not.", []string{"source"}, nil)
	entries       = prometheus.NewDesc("kasbah_credential_cache_entries", "Verified credentials kept.", nil, nil)
	revokedUp     = prometheus.NewDesc("kasbah_revocation_store_up", "1 if the revocations in force are as their store has them, 0 if it cannot be read and those that were last read are in force, or none.", []string{"source"}, nil)
	revokedNames  = prometheus.NewDesc("kasbah_revocation_store_names", "Names that something is withdrawn of.", []string{"source"}, nil)
	revokedBroken = prometheus.NewDesc("kasbah_revocation_store_broken", "Revocations that cannot be read; each withdraws all of its name.", []string{"source"}, nil)
	revokedLost   = prometheus.NewDesc("kasbah_revocation_store_lost_total", "How often the store came back with less than it had; what it had stays withdrawn in this process.", []string{"source"}, nil)
	revokedRead   = prometheus.NewDesc("kasbah_revocation_store_last_read_timestamp_seconds", "When the revocations were last known to be as their store has them.", []string{"source"}, nil)
)

// keyCollector reads the state of the key sets and of the credential cache when metrics are asked for.
type keyCollector struct {
	store *keys.Store
	now   func() time.Time
}

// Describe implements prometheus.Collector.
func (k *keyCollector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		setKeys, setAge, setOK, keptFailed, hits, misses, entries, asked, enriched, ownTokens, tableUp, tableKeys, tableBroken, tableRead,
		revokedUp, revokedNames, revokedBroken, revokedLost, revokedRead, proofs, doubted, replayUp,
	} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (k *keyCollector) Collect(collected chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		collected <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, set := range k.store.Sets() {
		gauge(setKeys, float64(set.Keys), set.Source)
		if !set.Fetched.IsZero() {
			gauge(setAge, k.now().Sub(set.Fetched).Seconds(), set.Source)
		}
		ok := 0.0
		if set.Attempted && set.Err == nil {
			ok = 1
		}
		gauge(setOK, ok, set.Source)
	}
	reads, writes := k.store.KeptFailures()
	collected <- prometheus.MustNewConstMetric(keptFailed, prometheus.CounterValue, float64(reads), "read")
	collected <- prometheus.MustNewConstMetric(keptFailed, prometheus.CounterValue, float64(writes), "write")
	seen := map[[2]string]bool{}
	for _, table := range k.store.Tables() {
		at := [2]string{table.Provider, table.Source}
		if seen[at] {
			continue // reached in another way too, while a reload is tried
		}
		seen[at] = true
		up := 0.0
		if table.Attempted && table.Err == nil {
			up = 1
		}
		gauge(tableUp, up, table.Provider, table.Source)
		gauge(tableKeys, float64(table.Keys), table.Provider, table.Source)
		gauge(tableBroken, float64(table.Broken), table.Provider, table.Source)
		if !table.Read.IsZero() {
			gauge(tableRead, float64(table.Read.UnixMilli())/1000, table.Provider, table.Source)
		}
	}
	k.revocations(collected, gauge)
	stats := k.store.CacheStats()
	collected <- prometheus.MustNewConstMetric(hits, prometheus.CounterValue, float64(stats.Hits))
	collected <- prometheus.MustNewConstMetric(misses, prometheus.CounterValue, float64(stats.Misses))
	for answers, count := range k.store.Introspections() {
		collected <- prometheus.MustNewConstMetric(asked, prometheus.CounterValue, float64(count), answers.Provider, answers.Outcome)
	}
	for answers, count := range k.store.Enrichments() {
		collected <- prometheus.MustNewConstMetric(enriched, prometheus.CounterValue, float64(count), answers.Provider, answers.Outcome)
	}
	own := k.store.Minted()
	for outcome, count := range map[string]uint64{"minted": own.Minted, "reused": own.Reused, "failed": own.Refused} {
		collected <- prometheus.MustNewConstMetric(ownTokens, prometheus.CounterValue, float64(count), outcome)
	}
	gauge(entries, float64(stats.Entries))
	k.collectProofs(collected)
}

// collectProofs reads what is known of proofs of possession.
func (k *keyCollector) collectProofs(collected chan<- prometheus.Metric) {
	stats := k.store.ReplayStats()
	collected <- prometheus.MustNewConstMetric(proofs, prometheus.GaugeValue, float64(stats.Remembered))
	for cause, count := range map[string]uint64{"replayed": stats.Replayed, "full": stats.Full, "failed": stats.Failed} {
		collected <- prometheus.MustNewConstMetric(doubted, prometheus.CounterValue, float64(count), cause)
	}
	seen := map[string]bool{}
	for _, place := range stats.Shared {
		if !place.Asked || seen[place.Source] { // another with the same name is there while a reload is tried
			continue
		}
		seen[place.Source] = true
		up := 1.0
		if place.Err != nil {
			up = 0
		}
		collected <- prometheus.MustNewConstMetric(replayUp, prometheus.GaugeValue, up, place.Source)
	}
}

func (k *keyCollector) revocations(collected chan<- prometheus.Metric, gauge func(d *prometheus.Desc, value float64, labels ...string)) {
	seen := map[string]bool{}
	for _, store := range k.store.RevocationStores() {
		if seen[store.Source] {
			continue // reached in another way too, while a reload is tried
		}
		seen[store.Source] = true
		up := 0.0
		if store.Attempted && store.Err == nil {
			up = 1
		}
		gauge(revokedUp, up, store.Source)
		gauge(revokedNames, float64(store.Names), store.Source)
		gauge(revokedBroken, float64(store.Broken), store.Source)
		collected <- prometheus.MustNewConstMetric(revokedLost, prometheus.CounterValue, float64(store.Lost), store.Source)
		if !store.Read.IsZero() {
			gauge(revokedRead, float64(store.Read.UnixMilli())/1000, store.Source)
		}
	}
}

var (
	sourceUp   = prometheus.NewDesc("kasbah_policy_source_up", "1 if the table of a policy is as its database has it, 0 if the database is out of reach and its last rules are in force.", []string{"source"}, nil)
	sourceRead = prometheus.NewDesc("kasbah_policy_source_last_read_timestamp_seconds", "When the table of a policy was last known to be as its database has it.", []string{"source"}, nil)
	sourceRows = prometheus.NewDesc("kasbah_policy_source_rows", "Rows of the table of a policy as it was last read.", []string{"source"}, nil)
)

// sourceCollector reads the state of the tables when metrics are asked for.
type sourceCollector struct{ sources *sources }

// Describe implements prometheus.Collector.
func (*sourceCollector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sourceUp, sourceRead, sourceRows} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (c *sourceCollector) Collect(collected chan<- prometheus.Metric) {
	for _, status := range c.sources.statuses() {
		up := 0.0
		if status.Connected {
			up = 1
		}
		for d, value := range map[*prometheus.Desc]float64{sourceUp: up, sourceRead: float64(status.Read.UnixMilli()) / 1000, sourceRows: float64(status.Rows)} {
			collected <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, status.Source)
		}
	}
}
