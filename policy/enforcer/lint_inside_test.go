package enforcer

import (
	"strings"
	"testing"

	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/index"
	"github.com/kasbah-authz/kasbah/policy/enforcer/internal/model"
)

// TestLongestChain counts the links in the longest chain.
func TestLongestChain(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 0, "ab": 1, "ab bc": 2, "ab bc ac": 2, "bc ab cd ad": 3, "ab cd": 1} {
		var links []roleLink
		for _, pair := range strings.Fields(text) {
			links = append(links, roleLink{user: index.Symbol(pair[0] - 'a'), role: index.Symbol(pair[1] - 'a')})
		}
		if got := longest(links, 4); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
	if got := longest([]roleLink{{0, 1, 0}, {1, 0, 0}}, 2); got < model.MaxChain {
		t.Errorf("a circle is %d long", got)
	}
}
