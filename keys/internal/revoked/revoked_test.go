package revoked_test

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/keys/internal/revoked"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// times draws a time around noon, or the zero time.
func times(t *rapid.T, what string) time.Time {
	if n := rapid.IntRange(-3, 4).Draw(t, what); n < 4 {
		return noon.Add(time.Duration(n) * time.Second)
	}
	return time.Time{}
}

func windows(t *rapid.T, what string) []revoked.Window {
	var all []revoked.Window
	for range rapid.IntRange(1, 4).Draw(t, what) {
		all = append(all, revoked.Window{Before: times(t, "before"), Until: times(t, "until")})
	}
	return all
}

// withdraws is the plain reading of windows.
func withdraws(all []revoked.Window, issued, now time.Time) bool {
	return slices.ContainsFunc(all, func(w revoked.Window) bool {
		return (w.Until.IsZero() || now.Before(w.Until)) && (w.Before.IsZero() || !issued.After(w.Before))
	})
}

// TestMerge: putting windows together changes nothing of what they withdraw, leaves none that another one covers, and does not
// depend on the order.
func TestMerge(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := windows(t, "a"), windows(t, "b")
		merged := revoked.Merge(a, b...)
		if diff := cmp.Diff(merged, revoked.Merge(b, a...)); diff != "" {
			t.Fatalf("another order is another result: %s", diff)
		}
		for issued := -4; issued < 5; issued++ {
			for at := -4; at < 5; at++ {
				i, now := noon.Add(time.Duration(issued)*time.Second), noon.Add(time.Duration(at)*time.Second)
				if want := withdraws(slices.Concat(a, b), i, now); withdraws(merged, i, now) != want {
					t.Fatalf("%v and %v are %v: issued %d, at %d is withdrawn: %t", a, b, merged, issued, at, !want)
				}
			}
		}
		for i := range merged {
			rest := slices.Delete(slices.Clone(merged), i, i+1)
			if len(rest) > 0 && len(revoked.Merge(rest, merged[i])) == len(rest) {
				t.Fatalf("%v has one too many", merged)
			}
		}
		text := revoked.FormatWindows(merged)
		again, err := revoked.ParseWindows(text)
		if diff := cmp.Diff(merged, again); err != nil || diff != "" || revoked.FormatWindows(again) != text {
			t.Fatalf("%s is read as something else: %v %s", text, err, diff)
		}
	})
}

// TestSetAgainstAModel: whatever records are laid over each other, a Set withdraws what a plain map says.
func TestSetAgainstAModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var set *revoked.Set
		model := map[revoked.Name][]revoked.Window{}
		names := []revoked.Name{{Claim: "iss", Issuer: "i"}}
		for _, claim := range []string{"jti", "sid", "sub"} {
			for _, issuer := range []string{"", "i"} {
				names = append(names, revoked.Name{Claim: claim, Issuer: issuer, Value: "v"}, revoked.Name{Claim: claim, Issuer: issuer, Value: "i"})
			}
		}
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			how := rapid.SampledFrom([]revoked.How{revoked.Add, revoked.Keep, revoked.Replace}).Draw(t, "how")
			if how == revoked.Replace {
				clear(model)
			}
			var records []revoked.Record
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 4, rapid.ID[revoked.Name]).Draw(t, "names") {
				record := revoked.Record{Name: name, Windows: windows(t, "windows")}
				records = append(records, record)
				if how == revoked.Keep {
					model[name] = slices.Concat(model[name], record.Windows)
				} else {
					model[name] = record.Windows
				}
			}
			before := set
			was := withdrawn(before, names)
			set = set.With(records, how)
			if !maps.Equal(was, withdrawn(before, names)) {
				t.Fatal("the Set before has changed")
			}
			if rapid.Bool().Draw(t, "swept") {
				set = set.Without(noon)
				maps.DeleteFunc(model, func(_ revoked.Name, all []revoked.Window) bool {
					return !slices.ContainsFunc(all, func(w revoked.Window) bool { return !w.Over(noon) })
				})
			}
			if set.Len() != len(model) {
				t.Fatalf("%d names, and there are %d", set.Len(), len(model))
			}
			for _, name := range names {
				for _, issued := range []time.Time{noon.Add(-time.Hour), noon.Add(-time.Second), noon, noon.Add(2 * time.Second)} {
					for at := range 4 {
						now := noon.Add(time.Duration(at) * time.Second)
						want := withdraws(model[name], issued, now)
						if got := set.Withdraws(name, issued.UnixNano(), now.UnixNano()); got != want {
							t.Fatalf("%v issued at %v, asked at %v: %t of %v", name, issued, now, got, model[name])
						}
					}
				}
			}
		}
	})
}

func withdrawn(set *revoked.Set, names []revoked.Name) map[revoked.Name]bool {
	all := map[revoked.Name]bool{}
	for _, name := range names {
		all[name] = set.Withdraws(name, noon.UnixNano(), noon.UnixNano())
	}
	return all
}

// TestTexts: what is no name is not taken for one, and windows that cannot be read withdraw everything.
func TestTexts(t *testing.T) {
	t.Parallel()
	name := revoked.Name{Claim: "sub", Issuer: `a"b`, Value: "<é\n>"}
	if again, err := revoked.ParseName(revoked.FormatName(name)); err != nil || again != name {
		t.Errorf("%v, %v", again, err)
	}
	for _, text := range []string{"", "null", "[]", `["sub","",""]`, `["iss","",""]`, `["iss","a","b"]`, `["aud","a","b"]`, `["sub","a","b","c"]`, `["sub","a",1]`, `{"sub":1}`} {
		if n, err := revoked.ParseName(text); err == nil {
			t.Errorf("%s is %v", text, n)
		}
	}
	for _, text := range []string{"", "null", "[]", `[[]]`, `[[""]]`, `[["","",""]]`, `[["yesterday",""]]`, `[["","0001-01-01T00:00:00Z"]]`, `[1]`, "x"} {
		if all, err := revoked.ParseWindows(text); err == nil || !withdraws(all, noon, noon) || len(all) != 1 || all[0] != (revoked.Window{}) {
			t.Errorf("%s is %v, %v", text, all, err)
		}
	}
}

func FuzzTexts(f *testing.F) {
	f.Add(`["sub","https://issuer.example","alice"]`, `[["2026-01-01T00:00:00Z",""]]`)
	f.Add(`["iss","https://issuer.example",""]`, `[["","2026-01-01T00:00:00.5+01:00"],["",""]]`)
	f.Fuzz(func(t *testing.T, id, text string) {
		if name, err := revoked.ParseName(id); err == nil {
			if again, err := revoked.ParseName(revoked.FormatName(name)); err != nil || again != name || name.Check() != nil {
				t.Errorf("%q: %v, %v, %v", id, name, again, err)
			}
		}
		all, err := revoked.ParseWindows(text)
		if len(all) == 0 || err != nil && (len(all) != 1 || all[0] != (revoked.Window{})) {
			t.Fatalf("%q: %v, %v", text, all, err)
		}
		if again, err := revoked.ParseWindows(revoked.FormatWindows(all)); err == nil && revoked.FormatWindows(again) != revoked.FormatWindows(all) {
			t.Errorf("%q: %v, %v", text, all, again)
		}
	})
}

var errGone = errors.New("gone")
