package interpreted

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

// TestSessionsForget: nothing of a request is left in a session, and what is remembered of names is bounded.
func TestSessionsForget(t *testing.T) {
	text := "[request_definition]\nr = sub\n[policy_definition]\np = sub\n[role_definition]\ng = _, _\n[policy_effect]\ne = " + model.AllowOverride + "\n[matchers]\nm = g(r.sub, p.sub)\n"
	ev, err := New(text, model.ReadRules([]byte("p, reader\ng, editor, reader"), &model.Report{}), model.Context{}.WithDefaults(), true)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ev.take()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", maxCachedName+1)
	for i := range 2 * maxCachedNames {
		name := fmt.Sprint("name", i)
		if i%1000 == 0 {
			name = long
		}
		s.values[0] = name
		s.own.bring(name, []string{"editor"})
		if allowed, _, err := ev.enforce(s); err != nil || !allowed {
			t.Fatal(name, allowed, err)
		}
		s.own.forget()
		if allowed, _, err := ev.enforce(s); err != nil || allowed {
			t.Fatal(name, "keeps a role that was brought for one request", allowed, err)
		}
		if len(s.own.inherited) > maxCachedNames {
			t.Fatalf("%d names are remembered", len(s.own.inherited))
		}
	}
	if _, known := s.own.inherited[scopedName{long, ""}]; known {
		t.Error("a long name is remembered")
	}
	s.own.bring("someone", []string{"editor"})
	ev.give(s)
	if s.own.subject != "" || s.own.roles != nil || s.values[0] != nil || len(s.own.held) != 0 || len(s.own.heldIn) != 0 {
		t.Errorf("left in the session: %+v", s.own)
	}
}
