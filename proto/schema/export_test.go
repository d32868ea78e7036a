package schema

import "hash/maphash"

var testSeed = maphash.MakeSeed()

// CheckJSON returns the rule that the structure of a text breaks, "" for none.
func CheckJSON(text []byte, limits *Limits) string {
	if _, d := checkJSON(text, limits, testSeed); d != nil {
		return d.rule
	}
	return ""
}
