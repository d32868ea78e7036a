package enforcer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	stringadapter "github.com/casbin/casbin/v2/persist/string-adapter"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// The tests of this file draw what the other generated tests do not: patterns and keys made of what is odd in each
// kind of pattern, matchers of any shape, rules for eval of any shape, domains that look like names, roles that a
// caller brings into any graph, and changes of all of these. Everything is held against Casbin itself.

// adversaryScale multiplies how much is drawn.
const adversaryScale = 1

var adversaryEffects = []string{
	"some(where (p.eft == allow))", "!some(where (p.eft == deny))",
	"some(where (p.eft == allow)) && !some(where (p.eft == deny))", "priority(p.eft) || deny",
}

// parts are the sections of a model.
type parts struct{ request, policy, roles, effect, matcher string }

func (p parts) text() string {
	text := "[request_definition]\n" + p.request + "\n[policy_definition]\n" + p.policy + "\n"
	if p.roles != "" {
		text += "[role_definition]\n" + p.roles + "\n"
	}
	return text + "[policy_effect]\ne = " + p.effect + "\n[matchers]\nm = " + p.matcher + "\n"
}

// adversary draws.
type adversary struct{ *rand.Rand }

func newAdversary(seed uint64) adversary { return adversary{rand.New(rand.NewPCG(seed, 1))} }

func pick[T any](a adversary, from ...T) T { return from[a.IntN(len(from))] }

// joined returns up to that many pieces in a row, often behind a slash.
func (a adversary) joined(pieces []string, most int) string {
	var text strings.Builder
	if a.IntN(3) > 0 && pieces[0] == "/" {
		text.WriteString("/")
	}
	for range a.IntN(most) {
		text.WriteString(pick(a, pieces...))
	}
	return text.String()
}

// tally counts what a test compared, so that one that compares nothing fails.
type tally struct{ compared, allowed, refused, differences int }

func (n *tally) check(t *testing.T, least int) {
	t.Helper()
	if n.compared < least*adversaryScale || n.allowed < n.compared/50 || n.allowed > n.compared*49/50 {
		t.Errorf("%+v shows little", *n)
	}
	t.Logf("%+v", *n)
}

// ask compares one request, and reports the first differences.
func (n *tally) ask(t *testing.T, c *comparison, about string, values ...any) {
	t.Helper()
	n.compared++
	if err := c.compare(t.Context(), values...); err != nil {
		if n.differences++; n.differences <= 3 {
			message := err.Error()
			t.Errorf("%.300s\n%s", message, about)
		}
	}
	if c.allowed {
		n.allowed++
	}
}

// patternPieces are what patterns of each function are made of.
var patternPieces = map[string][]string{
	"keyMatch":   {"/", "*", "a", "b", "é", "", "//", "**", "a/b", "?", ".", "\\"},
	"keyMatch2":  {"/", "*", "/*", "a", "b", ":a", ":", ":a:b", ".", "|", "(?i)", `\Q`, `\E`, "{", "}", "é", "//", "/:id", "+", "?", "^", "$", "[a-z]", "(", ")", "-", "$1", ":x.y", "*a", `\.`, "a{2}", "(?m)", "(?s)"},
	"keyMatch3":  {"/", "*", "/*", "a", "b", "{a}", "{", "}", "{a}{b}", "{{a}", "{}", "{*}", ".", "|", "(?i)", `\Q`, "é", "//", "{a}x", "x{a}", "+", "?", "[a-z]", ":", "$1", "a{2}", "^", "$"},
	"keyMatch4":  {"/", "*", "/*", "a", "b", "{a}", "{b}", "{a}-{b}", "{", "}", "{{a}", "{}", "{*}", ".", "|", "(?i)", `\Q`, "é", "//", "{a}x", "x{a}", "(", ")", "(?:a)", "+", "?", "[a-z]"},
	"keyMatch5":  {"/", "*", "/*", "a", "b", "{a}", "{", "}", "{a}{b}", "{{a}", "{}", ".", "|", "(?i)", `\Q`, "é", "//", "?", `\?`, "{a?}", "?q=1", "{a}x"},
	"regexMatch": {"^", "$", "a", "b", "/", "?", "*", "+", "|", "(?:ab|ac)", "(?i)", "(?m)", "(?s)", ".", `\x61`, `\Q`, `\E`, "[ab]", "(a)", "{2}", "{0}", "{1,2}", `\b`, `\A`, `\z`, "é", "\ufffd", "(?i:a)", "k", "K", "s", "ſ", "-", "(", ")", "^^", "^ab", "^a", "ab", "(?U)"},
	"globMatch":  {"/", "*", "**", "a", "b", "{a,b}", "{a,/b}", "{", "}", "[a-z]", "[!a]", "[^a]", `\`, `\*`, "?", "é", "//", "{**,a}", "a/**", "/**/", ",", "[", "]", "{,a}", "-", "!", "**a", ".", "[]a]", "[a-]"},
}

// keyPieces are what the texts are made of that they are asked about.
var keyPieces = []string{"/", "a", "b", "é", "ab", "ac", "//", "?", "q=1", "-", ".", "*", ":id", "{a}", "A", "aa", "x", "k", "K", "\u212a", "s", "ſ", "\xff", "\ufffd", "\\", "[", "a/b", "/a", "/b", "|", "", "$1", "!"}

// patternModel draws a model around one pattern function, and some rules.
func (a adversary) patternModel(function, key string) (text, rules string) {
	condition := fmt.Sprintf("%s(%s, p.obj)", function, key)
	if function == "regexMatch" && a.IntN(3) == 0 {
		condition = key + " =~ p.obj"
	}
	matcher := fmt.Sprintf(pick(a, "%s", "r.sub == p.sub && %s", "%s && r.sub != 'zz'", "p.sub == r.sub || %s", "!(%s) && r.sub == p.sub"), condition)
	for range 1 + a.IntN(3) {
		rules += fmt.Sprintf("p, %s, \"%s\", %s\n", pick(a, "alice", "bob"), a.joined(patternPieces[function], 5), pick(a, "allow", "allow", "deny"))
	}
	return parts{"r = sub, obj", "p = sub, obj, eft", "", pick(a, adversaryEffects...), matcher}.text(), rules
}

// TestAdversaryPatterns: patterns of all that is odd in one, over texts of all that is odd in one. Texts that stand in a
// map may also break lines, and what is no text at all may be asked about.
func TestAdversaryPatterns(t *testing.T) {
	for function := range patternPieces {
		t.Run(function, func(t *testing.T) {
			a, n := newAdversary(11), tally{}
			breaking := append(slices.Clone(keyPieces), "\n", "\x00", "\r", "\u2028")
			for range 250 * adversaryScale {
				inMap := a.IntN(3) == 0
				text, rules := a.patternModel(function, map[bool]string{false: "r.obj", true: "r.obj.Path"}[inMap])
				c, err := newComparison(text, rules, enforcer.Context{})
				if err != nil {
					n.refused++
					continue
				}
				for range 20 {
					key := any(a.joined(keyPieces, 6))
					switch {
					case inMap:
						key = map[string]any{"Path": a.joined(breaking, 6)}
					case a.IntN(20) == 0:
						key = pick[any](a, 5, nil, true, []any{"a"}, map[string]any{})
					}
					n.ask(t, c, text+rules, pick(a, "alice", "bob", "carol"), key)
				}
			}
			n.check(t, 2000)
		})
	}
}

// TestAdversaryAddresses: IPv4 in IPv6, zones, zeros in front, the widest blocks, and what is no address.
func TestAdversaryAddresses(t *testing.T) {
	patterns := []string{
		"10.0.0.0/8", "0.0.0.0/0", "::/0", "::ffff:0:0/96", "::ffff:0:0/95", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1", "::ffff:10.0.0.1/128", "10.0.0.1", "10.0.0.1/32", "10.0.0.1/31",
		"::1", "::1/128", "2001:db8::/32", "2001:DB8:0::1", "fe80::/10", "::ffff:0:0/0", "::10.0.0.1", "64:ff9b::/96", "1.2.3.4/0", "::ffff:1.2.3.4/100", "2001:db8::1/33",
	}
	keys := []any{
		"10.0.0.1", "::ffff:10.0.0.1", "::ffff:a00:1", "010.0.0.1", "10.0.0.01", "fe80::1%eth0", "::1", "0.0.0.0", "::", "2001:db8::1", "2001:0DB8::0001", "10.0.0.1/32", "", " 10.0.0.1", "10.0.0",
		"::10.0.0.1", "64:ff9b::10.0.0.1", "255.255.255.255", "1.2.3.4", 5, nil,
		[]any{"10.0.0.1"},
		[]any{},
		"::fffe:10.0.0.1",
	}
	a, n := newAdversary(12), tally{}
	for range 60 * adversaryScale {
		matcher := pick(a, "ipMatch(r.ip, p.ip)", "r.sub == p.sub && ipMatch(r.ip, p.ip)", "ipMatch(r.ip, p.ip) && r.sub == p.sub", "r.sub == p.sub || ipMatch(r.ip, p.ip)")
		text, rules := parts{"r = sub, ip", "p = sub, ip, eft", "", pick(a, adversaryEffects...), matcher}.text(), ""
		for range a.IntN(4) {
			rules += fmt.Sprintf("p, %s, %s, %s\n", pick(a, "alice", "bob"), pick(a, patterns...), pick(a, "allow", "deny"))
		}
		c, err := newComparison(text, rules, enforcer.Context{})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			for _, sub := range []any{"alice", "carol", 5} {
				n.ask(t, c, text+rules, sub, key)
			}
		}
	}
	n.check(t, 4000)
}

// operand draws one side of an operator.
func (a adversary) operand(depth int) string {
	if depth > 0 {
		switch a.IntN(6) {
		case 0:
			return "(" + a.expression(depth-1) + ")"
		case 1:
			return pick(a, "-", "!") + a.operand(depth-1)
		case 2:
			return pick(a, "g", "keyMatch", "keyMatch2", "regexMatch", "g2", "globMatch", "keyGet") + "(" + a.operand(depth-1) + ", " + pick(a, "p.sub", "p.obj", "p.sub_x") + ")"
		}
	}
	return pick(
		a, "r.sub", "r.obj", "p.sub", "p.obj", "p.sub_x", "r.sub_x", "r_sub", "p_obj", "r.sub.Age", "r.obj.Name", "r.sub.in.true", "'alice'", "\"5\"", "5", "0", "0x1F", "'2020-01-01'", "'3:04PM'", "true", "false", "1.5",
		"'é'", "'\\d'", "''", "'p_x'", "r.p_1", "'10:00'", "g('alice', 'admin')", "g(r.sub, p.sub)", "keyMatch(r.obj, p.obj)", "r.sub == p.sub", "r.obj == p.obj", "r.sub == p.sub", "r.sub in ('alice', 'bob')", "p.sub in ('alice')",
	)
}

// expression draws a matcher, which need not make sense.
func (a adversary) expression(depth int) string {
	if depth == 0 {
		return a.operand(0)
	}
	switch a.IntN(10) {
	case 0, 1, 2:
		return a.expression(depth-1) + pick(a, " && ", "&&") + a.expression(depth-1)
	case 3, 4:
		return a.expression(depth-1) + pick(a, " || ", "||") + a.expression(depth-1)
	case 5:
		return a.operand(depth-1) + pick(a, " == ", "!=", " < ", " <= ", " > ", ">=", " == ") + a.operand(depth-1)
	case 6:
		return a.operand(depth-1) + pick(a, " + ", " - ", " * ", " / ", " % ", " ** ") + a.operand(depth-1)
	case 7:
		list := pick(a, "('alice', 'bob')", "('alice')", "r.obj", "(r.obj)", "(r.obj, 'alice')", "('a' + 'b')", "(5, '5', true)", "(p.sub, p.obj)", "(('alice','bob'))", "['alice', 'bob']", "(-5)", "'alice'", "(r.sub)")
		return a.operand(depth-1) + pick(a, " in ", " IN ") + list
	case 8:
		return a.operand(depth-1) + pick(a, " =~ ", " !~ ", "=~") + pick(a, "p.obj", "'^a'", "('^a')", "p.sub", "'2020-01-01'", "''")
	default:
		return a.operand(depth)
	}
}

// values are the values of a request that a matcher may trip over.
func (a adversary) values() []any {
	if a.IntN(2) == 0 {
		return []any{pick(a, "alice", "bob"), pick(a, "alice", "/a", "x"), "x", "x"}
	}
	any1 := func() any {
		return pick[any](
			a, "alice", "bob", "admin", "", "5", 5, 5.0, int8(5), uint8(5), true, false, nil, "2020-01-01", []any{"alice"}, []any{"alice", "admin"}, []any{}, []any{5}, []any{map[string]any{}}, map[string]any{},
			map[string]any{"Age": 5, "Name": "alice", "in": map[string]any{"true": true}}, map[string]any{"Age": nil, "Name": []any{"alice", "admin"}}, map[string]any{"Age": map[string]any{"Age": 5}, "Name": 5}, "é", "^a", "/a", "\\d", "p_sub", "*",
		)
	}
	subject := any1()
	if subject == nil || subject == "" {
		subject = "alice" // nobody is refused before Casbin would be asked
	}
	return []any{subject, any1(), any1(), any1()}
}

func (a adversary) links() (links string) {
	for range a.IntN(4) {
		links += fmt.Sprintf("%s, %s, %s\n", pick(a, "g", "g2"), pick(a, "alice", "bob", "admin", "", "5"), pick(a, "alice", "admin", "", "x"))
	}
	return links
}

// TestAdversaryMatchers: operators of every precedence over operands of every kind, most of which are errors, which must
// come where Casbin's come.
func TestAdversaryMatchers(t *testing.T) {
	a, n := newAdversary(13), tally{}
	for range 1500 * adversaryScale {
		text := parts{"r = sub, obj, sub_x, p_1", "p = sub, obj, sub_x, eft", "g = _, _\ng2 = _, _", pick(a, adversaryEffects...), a.expression(1 + a.IntN(4))}.text()
		rules := a.links()
		for range a.IntN(5) {
			rules += fmt.Sprintf("p, %s, %s, %s, %s\n", pick(a, "alice", "bob", "admin", "", "5", "é", "*"), pick(a, "alice", "", "/*", "/a", "^a", "5", "a*", "\\d"), pick(a, "", "x", "alice", "31"), pick(a, "allow", "allow", "deny"))
		}
		c, err := newComparison(text, rules, enforcer.Context{})
		if err != nil {
			n.refused++
			continue
		}
		for range 12 {
			n.ask(t, c, text+rules, a.values()...)
		}
	}
	n.check(t, 10_000)
}

// TestAdversaryEvals: rules for eval of every shape, whose errors must come where Casbin's come, for whatever rule decides.
func TestAdversaryEvals(t *testing.T) {
	a, n := newAdversary(14), tally{}
	for range 1000 * adversaryScale {
		matcher := pick(
			a, "eval(p.rule) && r.sub == p.sub", "r.sub == p.sub && eval(p.rule)", "r.sub == p.sub || eval(p.rule)", "eval(p.rule)", "!eval(p.rule) && r.sub == p.sub", "eval(p.rule) == true && r.obj == p.obj",
			"g(r.sub, p.sub) && eval(p.rule) && r.obj == p.obj", "eval(p.rule) && eval(p.more)", "keyMatch(r.obj, p.obj) && (eval(p.rule) || r.sub == p.sub)",
		)
		text := parts{"r = sub, obj, sub_x, p_1", "p = sub, obj, sub_x, more, rule, eft", "g = _, _\ng2 = _, _", pick(a, adversaryEffects...), matcher}.text()
		rules := a.links()
		for range 1 + a.IntN(4) {
			rule := strings.ReplaceAll(a.expression(a.IntN(3)), `"`, "'")
			if a.IntN(2) == 0 {
				rule = pick(a, "true", "r.sub == 'alice'", "p.obj == r.obj")
			}
			rules += fmt.Sprintf("p, %s, %s, x, %s, \"%s\", %s\n", pick(a, "alice", "bob", "admin", "", "5"), pick(a, "alice", "", "/*", "/a", "^a", "5"), pick(a, "true", "r.sub.Age > 4", "5", "r.obj < 'z'"), rule, pick(a, "allow", "allow", "deny"))
		}
		c, err := newComparison(text, rules, enforcer.Context{})
		if err != nil {
			n.refused++
			continue
		}
		for range 12 {
			n.ask(t, c, text+rules, a.values()...)
		}
	}
	n.check(t, 5000)
}

// TestAdversaryContexts: definitions of every kind in twos, of which the context picks; only the first matcher says
// whether domains are patterns.
func TestAdversaryContexts(t *testing.T) {
	a, n := newAdversary(15), tally{}
	names, domains := []string{"a", "b", "c"}, []string{"d/1", "d/*", "*", "d"}
	for range 150 * adversaryScale {
		matcher := pick(a, "g(r.sub, p.sub, r.dom) && keyMatch(r.dom, p.dom)", "g(r.sub, p.sub, r.dom) && r.obj == p.obj") + "\nm2 = " +
			pick(a, "g2(r2.sub, p2.sub) && r2.obj == p2.obj", "g(r2.sub, p2.sub, r2.obj) && r2.obj == p2.obj", "g(r2.sub, p2.sub, r2.obj)", "r2.sub == p2.sub && keyMatch(r2.obj, p2.obj)")
		effect := pick(a, adversaryEffects...) + "\ne2 = " + pick(a, adversaryEffects...)
		text, rules := parts{"r = sub, dom, obj\nr2 = obj, sub", "p = sub, dom, obj, eft\np2 = priority, obj, sub, eft", "g = _, _, _\ng2 = _, _", effect, matcher}.text(), ""
		for range 1 + a.IntN(6) {
			rules += fmt.Sprintf("p, %s, %s, o, %s\n", pick(a, names...), pick(a, domains...), pick(a, "allow", "deny"))
			rules += fmt.Sprintf("p2, %s, %s, %s, %s\n", pick(a, "-1", "0", "+5", "007", "9223372036854775807", "-9223372036854775808"), pick(a, domains...), pick(a, names...), pick(a, "allow", "deny"))
			rules += fmt.Sprintf("g, %s, %s, %s\ng2, %s, %s\n", pick(a, names...), pick(a, names...), pick(a, domains...), pick(a, names...), pick(a, names...))
		}
		which := pick(a, enforcer.Context{Request: "r2", Policy: "p2", Effect: "e2", Matcher: "m2"}, enforcer.Context{Request: "r2", Policy: "p2", Effect: "e", Matcher: "m2"}, enforcer.Context{Request: "r", Policy: "p", Effect: "e2", Matcher: "m"})
		c, err := newComparison(text, rules, which)
		if err != nil {
			n.refused++
			continue
		}
		for range 15 {
			values := []any{pick(a, names...), pick(a, domains...), "o"}
			if which.Request == "r2" {
				values = []any{pick(a, append(domains[:4:4], "d/2", "x")...), pick(a, names...)}
			}
			n.ask(t, c, text+rules, values...)
		}
	}
	n.check(t, 1000)
}

// edited is a policy that changes line by line, and its enforcers.
type edited struct {
	adversary
	model   string
	fields  []string
	values  []any
	lines   []string
	table   bool // its lines are rows, ordered by what they say, and name themselves
	line    func() string
	current *enforcer.Enforcer
	derived int
}

// edit changes, adds or removes a line.
func (d *edited) edit() {
	at := d.IntN(len(d.lines))
	switch d.IntN(3) {
	case 0:
		d.lines[at] = d.line()
	case 1:
		d.lines = slices.Insert(d.lines, at, d.line())
	default:
		if len(d.lines) > 1 {
			d.lines = slices.Delete(d.lines, at, at+1)
		}
	}
}

// build makes the next enforcer of the one before. It returns false for a policy that is refused.
func (d *edited) build() bool {
	cfg := enforcer.Config{
		Name: "edited", AllowIfEmpty: true, Previous: d.current, Fields: map[string]enforcer.Field{},
		Model: enforcer.Text{File: "m", Data: []byte(d.model)}, Policy: enforcer.Text{File: "p", Data: []byte(strings.Join(d.lines, "\n"))},
		Roles: func(_ *policy.Request, p *policy.Principal) ([]string, error) { return p.Roles, nil },
	}
	if d.table {
		slices.Sort(d.lines)
		d.lines = slices.Compact(d.lines)
		cfg.Table = &enforcer.Table{Name: "p"}
		for i, line := range d.lines {
			cfg.Table.Rows = append(cfg.Table.Rows, enforcer.Row{ID: int64(i + 1), Fields: strings.Split(line, ", ")})
		}
	}
	for i, name := range d.fields {
		cfg.Fields[name] = func(*policy.Request, *policy.Principal) (any, error) { return d.values[i], nil }
	}
	e, _ := enforcer.New(cfg)
	if e == nil {
		return false
	}
	if d.current = e; enforcer.Derived(e) {
		d.derived++
	}
	return true
}

// truth is a fresh Casbin in which the subject really has those roles, in each of those domains.
func (d *edited) truth(subject string, roles, domains []string) (*casbin.Enforcer, error) {
	m, err := model.NewModelFromString(d.model)
	if err != nil {
		return nil, err
	}
	e, err := casbin.NewEnforcer(m, stringadapter.NewAdapter("# not empty\n"+strings.Join(d.lines, "\n")))
	if err != nil {
		return nil, err
	}
	for _, role := range roles {
		for _, domain := range domains {
			if role == "" {
				continue // is no role
			}
			if err := e.GetRoleManager().AddLink(subject, role, domain); err != nil {
				return nil, err
			}
		}
	}
	return e, nil
}

// ask compares the verdict, the error and the deciding rule.
func (d *edited) ask(t *testing.T, n *tally, truth *casbin.Enforcer, roles []string) {
	t.Helper()
	want, explained, wantErr := truth.EnforceEx(d.values...)
	got, err := d.current.Evaluate(t.Context(), &policy.Request{}, &policy.Principal{Roles: roles})
	n.compared++
	if want {
		n.allowed++
	}
	rule := strings.Join(append([]string{"p"}, explained...), ", ")
	if (err == nil) != (wantErr == nil) || (got.Verdict == policy.Permitted) != want || len(explained) > 0 && got.Rule.Text != rule {
		if n.differences++; n.differences <= 3 {
			t.Errorf("%v with %q: %+v, %v; Casbin %t by %q, %.100v\n%s\n%s", d.values, roles, got, err, want, rule, wantErr, d.model, strings.Join(d.lines, "\n"))
		}
	}
}

// TestAdversaryRoles: names that are domains, domains that are patterns, circles, empty names, and callers who bring
// roles, under policies that change.
func TestAdversaryRoles(t *testing.T) {
	names, domains := []string{"a", "b", "c", "d/1", "alice", "e"}, []string{"d/1", "d/2", "d/*", "*", "a", "", "d/1*", "alice"}
	a, n, derived := newAdversary(16), tally{}, 0
	for range 120 * adversaryScale {
		matcher := pick(
			a, "g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj", "g(r.sub, p.sub, r.dom) && keyMatch(r.dom, p.dom) && r.obj == p.obj", "g(r.sub, p.sub, p.dom) && r.obj == p.obj",
			"(g(r.sub, p.sub, r.dom) && keyMatch(r.dom, p.dom) || r.sub == 'root') && g2(r.obj, p.obj)", "(g(r.sub, p.sub, r.dom) && keyMatch(r.dom, p.dom) ? true : false)", "g(r.sub, 'c', r.dom) && r.obj == p.obj && p.sub != 'a'",
			"g(r.sub, p.sub, 'd/1') && p.obj in ('o', 'a')", "!g(r.sub, p.sub, r.dom) && g2(r.obj, p.obj)",
		)
		d := &edited{adversary: a, fields: []string{"sub", "dom", "obj"}, table: a.IntN(2) == 0}
		d.model = parts{"r = sub, dom, obj", "p = sub, dom, obj, eft", "g = _, _, _\ng2 = _, _", pick(a, adversaryEffects...), matcher}.text()
		d.line = func() string {
			switch a.IntN(3) {
			case 0:
				return fmt.Sprintf("p, %s, %s, %s, %s", pick(a, names...), pick(a, domains...), pick(a, "o", "a", "b"), pick(a, "allow", "allow", "deny"))
			case 1:
				return fmt.Sprintf("g, %s, %s, %s", pick(a, names...), pick(a, names...), pick(a, domains...))
			}
			return fmt.Sprintf("g2, %s, %s", pick(a, "o", "a", "b"), pick(a, "o", "a", "b"))
		}
		for range 2 + a.IntN(10) {
			d.lines = append(d.lines, d.line())
		}
		for range 3 {
			if !d.build() {
				t.Fatalf("refused:\n%s", strings.Join(d.lines, "\n"))
			}
			for range 6 {
				var roles []string
				for range a.IntN(3) {
					roles = append(roles, pick(a, append(names[:6:6], "new", "")...))
				}
				subject, domain := pick(a, append(names[:6:6], "nobody")...), pick(a, append(domains[:8:8], "x", "d/11")...)
				d.values = []any{subject, domain, pick(a, "o", "a", "b")}
				truth, err := d.truth(subject, roles, append(domains[:8:8], domain))
				if err != nil {
					t.Fatal(err)
				}
				d.ask(t, &n, truth, roles)
			}
			d.edit()
		}
		derived += d.derived
	}
	n.check(t, 2000)
	if derived < 20 {
		t.Errorf("%d changes were taken as one", derived)
	}
}

// TestAdversaryChangedRules: rules for eval and patterns of every kind come and go, and what an earlier policy
// remembered counts no more.
func TestAdversaryChangedRules(t *testing.T) {
	a, n, derived := newAdversary(17), tally{}, 0
	for range 120 * adversaryScale {
		matcher := pick(
			a, "eval(p.rule) && r.sub == p.sub", "r.sub == p.sub && eval(p.rule)", "keyMatch2(r.obj, p.obj) && eval(p.rule)", "regexMatch(r.obj, p.obj) && r.act == p.act && eval(p.rule)", "globMatch(r.obj, p.obj) && p.rule != ''",
			"r.act == p.act || eval(p.rule)", "keyMatch4(r.obj, p.obj) && r.act == p.act", "keyGet2(r.obj, p.obj, 'id') == p.act", "keyMatch5(r.obj, p.obj) || keyMatch(r.obj, p.obj)",
		)
		d := &edited{adversary: a, fields: []string{"sub", "obj", "act"}, table: a.IntN(2) == 0}
		d.model = parts{"r = sub, obj, act", "p = sub, obj, act, rule, eft", "", pick(a, adversaryEffects...), matcher}.text()
		d.line = func() string {
			rule := pick(a, "true", "r.sub == 'alice'", "r.obj =~ '^/a'", "r.sub.Age > 5", "r.act < p.act", "r.sub == p.sub && r.act != 'x'", "1 + 1 == 2", "5", "r.sub + 'x' == 'alicex'", "!(r.act == p.act)")
			return fmt.Sprintf("p, %s, %s, %s, %s, %s", pick(a, "alice", "bob"), pick(a, "/a", "/:id", "/{id}", "/*", "/a*", "^/a", "/{x}/{x}", "a"), pick(a, "1", "read", "x", ""), rule, pick(a, "allow", "allow", "deny"))
		}
		for range 2 + a.IntN(6) {
			d.lines = append(d.lines, d.line())
		}
		for range 4 {
			if !d.build() {
				t.Fatalf("refused:\n%s", strings.Join(d.lines, "\n"))
			}
			truth, err := d.truth("", nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			for range 10 {
				d.values = []any{
					pick[any](a, "alice", "bob", map[string]any{"Age": 6}, map[string]any{"Age": "x"}, 5, []any{"alice"}),
					pick[any](a, "/a", "/1", "/1/1", "/1/2", "a", 5, "/a?x", "/x/"), pick[any](a, "1", "read", "x", "", 1, true),
				}
				d.ask(t, &n, truth, nil)
			}
			d.edit()
		}
		derived += d.derived
	}
	n.check(t, 4000)
	if derived < 50 {
		t.Errorf("%d changes were taken as one", derived)
	}
}

// policyLine draws a line of a policy, with quotes, space and line ends as files have them.
func (a adversary) policyLine() string {
	quoted := func(field string) string { return pick(a, field, field, field, `"`+field+`"`) }
	rule := "p, " + quoted(pick(a, "alice", "bob", "a,b", "é")) + ", " + quoted(pick(a, "/a", "/:x", "/*")) + "," + quoted(pick(a, "GET", "", "x y")) + pick(a, ", ", ",\t", ",") + pick(a, "allow", "deny")
	link := "g, " + pick(a, "alice", "bob", "c") + ", " + pick(a, "r", "bob", "s")
	return pick(a, "", "  ", "\t") + pick(a, "# c", "", "\t", rule, rule, "p, alice, /a, GET, deny", "p, r, /:x, GET, allow", link) + pick(a, "", "", " ", "\r")
}

// mangled changes some bytes of a text, or puts a line into it.
func (a adversary) mangled(text string) string {
	at := a.IntN(len(text) + 1)
	begin := strings.LastIndexByte(text[:at], '\n') + 1
	switch a.IntN(5) {
	case 0:
		return text[:at] + pick(a, "\n", "a", " ", "\r\n", "#", `"`, ",") + text[at:]
	case 1:
		return text[:at] + text[min(len(text), at+a.IntN(4)):]
	default:
		return text[:begin] + a.policyLine() + "\n" + text[begin:]
	}
}

// TestAdversaryMangledTexts: whatever bytes of a policy change, what was made by changing the one before is what is read
// as a whole, line by line and verdict by verdict, or is refused likewise.
func TestAdversaryMangledTexts(t *testing.T) {
	const matcher = "g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act"
	a, derived, permitted := newAdversary(18), 0, 0
	modelText := parts{"r = sub, obj, act", "p = sub, obj, act, eft", "g = _, _", "priority(p.eft) || deny", matcher}.text()
	build := func(previous *enforcer.Enforcer, text string) *enforcer.Enforcer {
		e, _ := enforcer.New(enforcer.Config{
			Name: "mangled", AllowIfEmpty: true, Previous: previous,
			Model: enforcer.Text{File: "m", Data: []byte(modelText)}, Policy: enforcer.Text{File: "p", Data: []byte(text)},
		})
		return e
	}
	for range 800 * adversaryScale {
		text := ""
		for range 3 + a.IntN(5) {
			text += a.policyLine() + "\n"
		}
		previous := build(nil, text)
		for range 4 {
			text = a.mangled(text)
			now, fresh := build(previous, text), build(nil, text)
			if (now == nil) != (fresh == nil) {
				t.Fatalf("changed and read as a whole, one is refused: %q", text)
			}
			if fresh == nil {
				continue
			}
			if enforcer.Derived(now) {
				derived++
			}
			if !slices.Equal(rulesOf(fresh), rulesOf(now)) {
				t.Fatalf("%v, read as a whole %v: %q", rulesOf(now), rulesOf(fresh), text)
			}
			for range 4 {
				request, caller := &policy.Request{Path: pick(a, "/a", "/b"), Method: pick(a, "GET", "", "x y")}, &policy.Principal{ID: pick(a, "alice", "bob", "c", "a,b", "r")}
				want, wantErr := fresh.Evaluate(t.Context(), request, caller)
				got, err := now.Evaluate(t.Context(), request, caller)
				if want.Verdict == policy.Permitted {
					permitted++
				}
				if (err == nil) != (wantErr == nil) || got.Verdict != want.Verdict || got.Rule != want.Rule {
					t.Fatalf("%v %v: %+v, read as a whole %+v: %q", request, caller, got, want, text)
				}
			}
			previous = now
		}
	}
	if derived < 100 || permitted < 50 {
		t.Errorf("%d changes and %d permitted show little", derived, permitted)
	}
}

// TestAdversaryChangesUnderway: callers go on asking each enforcer while later ones are made of it, which share its memory.
func TestAdversaryChangesUnderway(t *testing.T) {
	const matcher = "g(r.sub, p.sub, r.dom) && keyMatch(r.dom, p.dom) && keyMatch4(r.obj, p.obj)"
	modelText := parts{"r = sub, dom, obj", "p = sub, dom, obj, eft", "g = _, _, _", adversaryEffects[2], matcher}.text()
	var rules strings.Builder
	for i := range 50 {
		fmt.Fprintf(&rules, "p, role%d, d/*, /x%d/{a}/{a}, allow\ng, alice%d, role%d, d/*\n", i%5, i, i, i%5)
	}
	var current *enforcer.Enforcer
	var callers sync.WaitGroup
	defer callers.Wait()
	for round := range 30 {
		next, findings := enforcer.New(enforcer.Config{
			Name: "changing", Previous: current, Model: enforcer.Text{Data: []byte(modelText)}, Policy: enforcer.Text{Data: []byte(rules.String())},
			Fields: map[string]enforcer.Field{"dom": func(r *policy.Request, _ *policy.Principal) (any, error) { return r.Method, nil }},
			Roles:  func(_ *policy.Request, p *policy.Principal) ([]string, error) { return p.Roles, nil },
		})
		if next == nil || round > 0 && !enforcer.Derived(next) {
			t.Fatal(next != nil, findings)
		}
		current = next
		for domain := range 4 {
			callers.Go(func() {
				for i := range 100 {
					request := &policy.Request{Path: fmt.Sprintf("/x%d/1/1", i%50), Method: fmt.Sprintf("d/%d", domain)}
					caller := &policy.Principal{ID: fmt.Sprintf("alice%d", i%50), Roles: []string{fmt.Sprintf("new%d", round)}}
					got, err := next.Evaluate(context.Background(), request, caller)
					if err != nil || got.Verdict != policy.Permitted {
						t.Errorf("round %d: %+v, %v", round, got, err)
					}
					request.Path = "/y/1" // which the role denies that this round's policy has not heard of yet
					if got, err = next.Evaluate(context.Background(), request, caller); err != nil || got.Reason != policy.NoMatchingPolicy {
						t.Errorf("round %d: %+v, %v", round, got, err)
					}
				}
			})
		}
		fmt.Fprintf(&rules, "p, new%d, d/*, /y/{a}, deny\ng, bob, role%d, e/%d*\n", round, round%5, round)
	}
}

// TestAdversaryArguments: a list in the first place stands for its elements, of which a role function without conditions
// takes strings only, and one with conditions does not look at more than three.
func TestAdversaryArguments(t *testing.T) {
	n := tally{}
	for _, definition := range []string{"_, _", "_, _, _", "_, _, (_, _)", "_, _, _, (_, _)"} {
		link := "g, alice, admin" + strings.Repeat(", _", strings.Count(definition, "_")-2) + "\n"
		for _, matcher := range []string{"g(r.sub, p.sub)", "(g(r.sub, p.sub) ? true : false)", "g(r.sub, p.sub, p.x)", "(g(r.sub, p.sub, p.x) ? true : false)"} {
			if strings.Contains(matcher, "p.x") != strings.HasPrefix(definition, "_, _, _") {
				continue
			}
			model := parts{"r = sub, x", "p = sub, x", "g = " + definition, "some(where (p.eft == allow))", matcher + " && r.x == 'y'"}.text()
			c, err := newComparison(model, "p, admin, _\n"+link, enforcer.Context{})
			if err != nil {
				t.Fatal(err)
			}
			for _, subject := range []any{
				"alice",
				[]any{"alice"},
				[]any{"alice", "admin"},
				[]any{"alice", "admin", "_"},
				[]any{"alice", "admin", "_", 5},
				[]any{"alice", "admin", "_", "x", nil},
				[]any{"alice", "admin", 5},
				[]any{"alice", 5},
				[]any{5},
				[]any{},
				[]any{"alice", "nothing", "_", []any{}},
				5, nil,
			} {
				n.ask(t, c, definition+" "+matcher, subject, "y")
			}
		}
	}
	if n.compared < 100 || n.allowed < 30 {
		t.Errorf("%+v shows little", n)
	}
}
