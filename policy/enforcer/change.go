package enforcer

import (
	"cmp"
	"slices"
	"strings"
	"unsafe"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/compiled"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

const (
	// maxAdded bounds the rules, and maxPieces the places, that a policy may have changed in before it is read
	// as a whole again.
	maxAdded  = 4096
	maxPieces = 256
)

// hunk is one place in which a policy has changed: units that are gone, and what stands there now.
type hunk struct {
	from, to int
	added    piece
}

// change makes of the enforcer before one of the policy now, in time in proportion to what has changed. It
// returns false where that cannot be done, or would not tell all that reading the whole policy tells.
func (e *Enforcer) change(cfg Config, m *model.Model, onPolicy *model.Report) bool {
	before := cfg.Previous
	if before == nil || !before.canChange(cfg) {
		return false
	}
	hunks, err := before.hunks(cfg)
	if err != nil {
		return false
	}
	c := &changing{Enforcer: before, model: m, report: &model.Report{File: onPolicy.File}}
	changed, err := c.apply(hunks)
	if err != nil || len(c.report.Findings) > 0 {
		return false // what is found is reported with all else
	}
	e.compiled, e.rules, e.queries, e.linear = changed, c.rules, before.queries, before.linear
	e.asked = changed.Count
	e.origin, e.incremental = newOrigin(cfg), true
	return true
}

// isIncremental reports whether changes of the policy can be taken alone. They cannot where a change may move other
// rules, or where it may bring back a rule that was left out.
func (e *Enforcer) isIncremental(m *model.Model, read int) bool {
	if e.compiled == nil || e.compiled.Program.PriorityColumn >= 0 || m.SortsBySubject() || read != len(e.rules.base) {
		return false
	}
	for _, definition := range m.Roles {
		if definition.Names > 3 || definition.Conditions > 0 {
			return false
		}
	}
	return slices.IsSortedFunc(e.rules.base, func(a, b model.Rule) int { return cmp.Compare(a.Line, b.Line) })
}

// canChange reports whether what the enforcer was built of, but for the policy, is what it would be built of now.
func (e *Enforcer) canChange(cfg Config) bool {
	return e.compiled != nil && e.incremental && e.allowIfEmpty == cfg.AllowIfEmpty && e.context == cfg.Context.WithDefaults() &&
		(e.roles != nil) == (cfg.Roles != nil) && string(cfg.Model.Data) == e.model && (cfg.Table != nil) == e.rules.table
}

// origin is the policy's text or rows, as they were read.
type origin struct {
	text string
	rows []Row
}

func newOrigin(cfg Config) origin {
	if cfg.Table != nil {
		return origin{rows: cfg.Table.Rows}
	}
	return origin{text: unsafe.String(unsafe.SliceData(cfg.Policy.Data), len(cfg.Policy.Data))} //nolint:gosec // the caller does not change it (Config)
}

func (e *Enforcer) hunks(cfg Config) ([]hunk, error) {
	if cfg.Table != nil {
		return rowHunks(e.origin.rows, cfg.Table.Rows)
	}
	r := &model.Report{}
	h, err := textHunk(e.origin.text, cfg.Policy.Data, r)
	if err != nil || len(r.Findings) > 0 {
		return nil, compiled.ErrWhole
	}
	return []hunk{h}, nil
}

// textHunk returns the lines in which the texts differ.
func textHunk(before string, now []byte, r *model.Report) (hunk, error) {
	start := commonPrefix(before, now)
	start = strings.LastIndexByte(before[:start], '\n') + 1
	rest, restNow := before[start:], now[start:]
	end := commonSuffix(rest, restNow)
	if cut := strings.IndexByte(rest[len(rest)-end:], '\n'); cut >= 0 {
		end -= cut + 1 // to where a line begins, in both
	} else {
		end = 0
	}
	gone, come := rest[:len(rest)-end], restNow[:len(restNow)-end]
	if len(come) > maxAdded*model.MaxRuleLine/8 {
		return hunk{}, compiled.ErrWhole
	}
	rules := model.ReadRules(slices.Clone(come), r) // which hold on to what they were read from
	if len(rules) > maxAdded {
		return hunk{}, compiled.ErrWhole
	}
	from := strings.Count(before[:start], "\n")
	return hunk{from, from + countLines(gone), piece{count: countLines(string(come)), rules: rules}}, nil
}

func countLines(text string) int {
	count := strings.Count(text, "\n")
	if text != "" && text[len(text)-1] != '\n' {
		count++
	}
	return count
}

// chunk is how many bytes are compared at a time.
const chunk = 1 << 12

func commonPrefix(a string, b []byte) int {
	i, length := 0, min(len(a), len(b))
	for i+chunk <= length && a[i:i+chunk] == string(b[i:i+chunk]) {
		i += chunk
	}
	for i < length && a[i] == b[i] {
		i++
	}
	return i
}

func commonSuffix(a string, b []byte) int {
	i, length := 0, min(len(a), len(b))
	for i+chunk <= length && a[len(a)-i-chunk:len(a)-i] == string(b[len(b)-i-chunk:len(b)-i]) {
		i += chunk
	}
	for i < length && a[len(a)-1-i] == b[len(b)-1-i] {
		i++
	}
	return i
}

// rowHunks returns where the rows differ. Rows are ordered by ID.
func rowHunks(before, now []Row) ([]hunk, error) {
	var hunks []hunk
	i, j := 0, 0
	same := func() bool { return i < len(before) && j < len(now) && sameRow(&before[i], &now[j]) }
	left := func() bool { return i < len(before) || j < len(now) }
	for left() {
		if same() {
			i, j = i+1, j+1
			continue
		}
		h := hunk{from: i, added: piece{rows: true}}
		for left() && !same() {
			gone, come := differ(before[i:], now[j:])
			if gone {
				i++
			}
			if come {
				h.added.rules = append(h.added.rules, model.NewRowRule(&now[j]))
				h.added.count++
				j++
			}
		}
		h.to = i
		if hunks = append(hunks, h); len(hunks) > maxPieces || h.added.count > maxAdded {
			return nil, compiled.ErrWhole
		}
	}
	return hunks, nil
}

// differ says of the first rows of both, which are not the same, whether the one is gone and whether the other has come.
func differ(before, now []Row) (gone, come bool) {
	switch {
	case len(now) == 0:
		return true, false
	case len(before) == 0:
		return false, true
	}
	return before[0].ID <= now[0].ID, before[0].ID >= now[0].ID
}

// sameRow reports whether the row is the same. Rows of one follower share what has not changed.
func sameRow(a, b *Row) bool {
	if a.ID != b.ID || len(a.Fields) != len(b.Fields) {
		return false
	}
	return unsafe.SliceData(a.Fields) == unsafe.SliceData(b.Fields) || slices.Equal(a.Fields, b.Fields) //nolint:gosec // a comparison
}

// changing makes one policy of another.
type changing struct {
	*Enforcer // of the policy before
	model     *model.Model
	report    *model.Report
	rules     *ruleSet // after
	gone      []model.Rule
	come      []model.Rule
}

func (c *changing) apply(hunks []hunk) (*compiled.Policy, error) {
	p := c.Enforcer.rules.pieces
	for _, h := range slices.Backward(hunks) {
		_, rest := p.split(h.from)
		replaced, _ := rest.split(h.to - h.from)
		c.gone = append(c.gone, c.Enforcer.rules.with(replaced).plain()...)
		c.come = append(c.come, h.added.rules...)
		p = p.replace(h.from, h.to, h.added)
	}
	c.rules = c.Enforcer.rules.with(p)
	if p.added() > maxAdded || len(p) > maxPieces || len(c.gone) > maxAdded {
		return nil, compiled.ErrWhole
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	runs, err := c.runs()
	if err != nil {
		return nil, err
	}
	return c.compiled.With(&compiled.Difference{Roles: c.model.Roles, Gone: c.gone, Come: c.come, Runs: runs})
}

// runs returns what the rules for the matcher are now.
func (c *changing) runs() ([]compiled.Run, error) {
	var all []compiled.Run
	for i, p := range c.rules.pieces {
		if p.base {
			all = append(all, compiled.Run{Kept: true, From: c.place(p.start), To: c.place(p.start + p.count)})
			continue
		}
		var added []model.Rule
		for j := range p.rules {
			if ptype := p.rules[j].Type(); ptype == c.context.Policy {
				added = append(added, c.rules.addedAt(i, &p.rules[j]))
			} else if _, ok := c.compiled.Graphs[ptype]; !ok {
				return nil, compiled.ErrWhole // of a definition that is not in use
			}
		}
		all = append(all, compiled.Run{Added: added})
	}
	return all, nil
}

// place returns the first rule for the matcher that does not stand before that unit of the base.
func (c *changing) place(unit int) int {
	at := c.rules.index(unit)
	if at == len(c.rules.base) {
		return len(c.compiled.Layers[0].Rules)
	}
	return c.compiled.Before(c.rules.base[at].Line)
}

// plain returns the rules without where they stand now.
func (s *ruleSet) plain() []model.Rule {
	var rules []model.Rule
	for i := range s.pieces {
		rules = append(rules, s.rulesOf(i)...)
	}
	return rules
}

// check checks the rules that have come as reading the whole policy would. Where it would find anything, the
// whole is read.
func (c *changing) check() error {
	check := model.NewRuleCheck(c.model, c.report, len(c.come))
	for i := range c.come {
		r := &c.come[i]
		if !c.report.CheckText(r.Text, model.Place{Line: r.Line}) || slices.ContainsFunc(r.Row, func(field string) bool { return strings.Contains(field, ",") }) {
			return compiled.ErrWhole
		}
		check.Check(r)
	}
	if len(c.report.Findings) > 0 {
		return compiled.ErrWhole
	}
	return nil
}
