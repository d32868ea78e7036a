package suite

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kasbah-authz/kasbah/policy"
)

// shared reads what the cases have in common: the defaults, then the principals and the requests that have names. Each of
// these may be like one that stands above it.
func (r *reader) shared(f map[string]*yaml.Node) {
	r.names = map[string]policy.Position{}
	r.principals = map[string]*policy.Principal{}
	r.requests = map[string]*policy.Request{}
	r.defaultRequest = policy.Request{Scheme: "https", Protocol: "HTTP/1.1", Size: -1}
	if node := f["defaults"]; node != nil {
		defaults := r.fields(node, "the defaults", "principal", "request")
		if node := defaults["principal"]; node != nil {
			if p := r.readPrincipal(node); p != nil {
				r.defaultPrincipal = *p
			}
		}
		if node := defaults["request"]; node != nil {
			if req := r.readRequest(node); req != nil {
				r.defaultRequest = *req
			}
		}
	}
	r.named(f["principals"], func(name string, key, value *yaml.Node) {
		if name == anonymous {
			r.errorf(key, "%s is the principal whom nobody authenticated, and cannot be another one", anonymous)
			return
		}
		if p := r.readPrincipal(value); p != nil {
			r.principals[name] = p
		}
	})
	r.named(f["requests"], func(name string, _, value *yaml.Node) {
		var req *policy.Request
		if value.Kind == yaml.ScalarNode {
			req = r.requestLine(value)
		} else {
			req = r.readRequest(value)
		}
		if req != nil {
			r.requests[name] = req
		}
	})
}

// named calls read with each name and value of a mapping.
func (r *reader) named(node *yaml.Node, read func(name string, key, value *yaml.Node)) {
	if node == nil {
		return
	}
	if count := len(node.Content) / 2; count > maxNamed {
		r.errorf(node, "there are %d names, and at most %d are read", count, maxNamed)
		return
	}
	r.entries(node, "expected a mapping from names", func(key, value *yaml.Node) {
		name := r.name(key)
		if strings.Contains(name, " ") {
			r.errorf(key, "a name has no space; %s", quote(name))
			return
		}
		read(name, key, value)
	})
}

// cases reads the list of cases and the tables.
func (r *reader) cases(f map[string]*yaml.Node) []Case {
	var cases []Case
	if node := f["cases"]; node != nil {
		for _, item := range r.items(node) {
			if len(cases) == maxCases {
				r.tooMany(item)
				return nil
			}
			if c := r.readCase(item); c != nil {
				cases = append(cases, *c)
			}
		}
	}
	if node := f["tables"]; node != nil {
		for _, item := range r.items(node) {
			cells := r.table(item, maxCases-len(cases))
			cases = append(cases, cells...)
		}
	}
	return cases
}

func (r *reader) tooMany(node *yaml.Node) {
	r.errorf(node, "there are more cases than %d; make two suites of them", maxCases)
}

func (r *reader) readCase(node *yaml.Node) *Case {
	f := r.fields(node, "a case", "name", "principal", "request", "want", "reason", "rule")
	if f == nil {
		return nil
	}
	c := &Case{Position: r.position(node)}
	for _, field := range []string{"name", "principal", "request", "want"} {
		if f[field] == nil && !r.hasKey(node, field) {
			r.errorf(node, "the case has no %s", field)
		}
	}
	if f["name"] != nil {
		c.Name = r.name(f["name"])
		r.unique(c.Name, r.position(f["name"]))
	}
	if f["principal"] != nil {
		c.Principal = r.principal(f["principal"])
	}
	if f["request"] != nil {
		c.Request = r.request(f["request"])
	}
	c.Want = r.want(f)
	return c
}

// hasKey reports whether a mapping has that field, be it one that was reported already.
func (r *reader) hasKey(node *yaml.Node, field string) bool {
	for i := 0; i < len(node.Content); i += 2 {
		if node.Content[i].Value == field {
			return true
		}
	}
	return false
}

func (r *reader) unique(name string, at policy.Position) {
	if first, ok := r.names[name]; ok && name != "" {
		r.add(at, "a second case named %s; the first is on line %d", quote(name), first.Line)
		return
	}
	r.names[name] = at
}

// want reads what is expected, of a case or of a cell that is a mapping.
func (r *reader) want(f map[string]*yaml.Node) Want {
	var want Want
	if node := f["want"]; node != nil {
		want.Verdict = r.verdict(node)
	}
	if node := f["reason"]; node != nil {
		want.Reason = r.name(node)
		if reason, err := policy.ParseReason(want.Reason); err != nil || reason == policy.NoReason {
			r.errorf(node, "no denial has the reason %s; an enforcer's are %s, %s and %s",
				quote(want.Reason), policy.NoMatchingPolicy, policy.DeniedByPolicy, policy.PolicyError)
		} else if want.Verdict == Allow {
			r.errorf(node, "an allow has no reason")
		}
	}
	if node := f["rule"]; node != nil {
		want.Rule = r.text(node)
		if want.Rule == "" && node.Kind == yaml.ScalarNode {
			r.errorf(node, "the rule is empty; leave it out, or for a denial by no rule write reason: %s", policy.NoMatchingPolicy)
		}
		if want.Verdict == Error {
			r.errorf(node, "no rule decides where the evaluation goes wrong")
		}
	}
	return want
}

func (r *reader) verdict(node *yaml.Node) Verdict {
	text := r.text(node)
	for v, name := range verdictNames {
		if name == text {
			return Verdict(v)
		}
	}
	if node.Kind == yaml.ScalarNode {
		r.errorf(node, "%s is no verdict; it is allow, deny or error", quote(text))
	}
	return Deny
}

// column is one request of a table, and its name.
type column struct {
	name    string
	request *policy.Request
}

// table reads a table: requests side by side, principals below one another, and a verdict where they meet. Each cell is a
// case. It reads at most that many.
func (r *reader) table(node *yaml.Node, most int) []Case {
	f := r.fields(node, "a table", "name", "requests", "want")
	if f == nil {
		return nil
	}
	for _, field := range []string{"name", "requests", "want"} {
		if f[field] == nil {
			if !r.hasKey(node, field) {
				r.errorf(node, "the table has no %s", field)
			}
			return nil
		}
	}
	name := r.name(f["name"])
	columns := r.columns(f["requests"])
	var cases []Case
	r.entries(f["want"], "the table's want is a mapping from principals to lists of verdicts", func(key, row *yaml.Node) {
		cells := r.items(row)
		if row.Kind == yaml.SequenceNode && len(cells) != len(columns) {
			r.errorf(row, "there are %d verdicts for %d requests", len(cells), len(columns))
			return
		}
		if len(cases)+len(cells) > most {
			r.tooMany(row)
			return
		}
		principal := r.principal(key)
		for i, cell := range cells {
			c := Case{Name: name + "/" + key.Value + "/" + columns[i].name, Position: r.position(cell), Principal: principal, Request: columns[i].request}
			r.unique(c.Name, c.Position)
			c.Want = r.cell(cell)
			cases = append(cases, c)
		}
	})
	if len(r.findings) == 0 && len(cases) == 0 {
		r.errorf(node, "the table has no case")
	}
	return cases
}

func (r *reader) columns(node *yaml.Node) []column {
	items := r.items(node)
	columns := make([]column, len(items))
	for i, item := range items {
		if i == maxCases {
			r.tooMany(item)
			return nil
		}
		req := r.request(item)
		columns[i] = column{name: item.Value, request: req}
		if item.Kind != yaml.ScalarNode && req != nil {
			columns[i].name = req.Method + " " + req.Path
		}
		if len(columns[i].name) > maxName {
			r.errorf(item, "the request is %d bytes long, and names the cases of its column; give it a shorter name under requests", len(columns[i].name))
		}
	}
	return columns
}

func (r *reader) cell(node *yaml.Node) Want {
	if node.Kind != yaml.MappingNode {
		return r.want(map[string]*yaml.Node{"want": node})
	}
	f := r.fields(node, "a cell", "want", "reason", "rule")
	if f != nil && f["want"] == nil && !r.hasKey(node, "want") {
		r.errorf(node, "the cell has no want")
	}
	return r.want(f)
}
