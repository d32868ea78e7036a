package model

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxExpression = 16 << 10 // bytes; what parses it recurses with its length
	maxNesting    = 200
)

// scope is what an expression may name.
type scope struct {
	fields    map[string]bool // "r.sub", "p.obj"
	functions map[string]Arity
	inPolicy  bool // the expression stands in a rule, for eval
}

// Arity is how many arguments a function takes.
type Arity struct{ Least, most int }

// String returns "2", or "2 to 4".
func (a Arity) String() string {
	if a.Least == a.most {
		return strconv.Itoa(a.Least)
	}
	return fmt.Sprintf("%d to %d", a.Least, a.most)
}

// Builtins are the functions that every matcher may call.
var Builtins = map[string]Arity{
	"keyMatch": {2, 2}, "keyMatch2": {2, 2}, "keyMatch3": {2, 2}, "keyMatch4": {2, 2}, "keyMatch5": {2, 2},
	"keyGet": {2, 2}, "keyGet2": {3, 3}, "keyGet3": {3, 3},
	"regexMatch": {2, 2}, "ipMatch": {2, 2}, "globMatch": {2, 2}, "eval": {1, 1},
}

// scope returns what the matcher of that key may name. The matcher of the context is asked with the context's
// request and policy; the others are a program's business, and may name any definition.
func (m *Model) scope(key string) scope {
	s := scope{fields: map[string]bool{}, functions: maps.Clone(Builtins)}
	for _, definitions := range []map[string][]Field{m.Requests, m.Policies} {
		for name, fields := range definitions {
			if key == m.Context.Matcher && name != m.Context.Request && name != m.Context.Policy {
				continue
			}
			for _, f := range fields {
				s.fields[name+"."+f.Name] = true
			}
		}
	}
	for name, role := range m.Roles {
		s.functions[name] = Arity{2, max(role.Names, 2)}
	}
	return s
}

// forRules returns the scope of a rule's text under a matcher of this one.
func (s scope) forRules() scope {
	s.inPolicy = true
	s.functions = maps.Clone(s.functions)
	delete(s.functions, "eval") // which would let a rule's text recurse
	return s
}

// expression is the text of a matcher, or of a rule that eval runs.
type expression struct {
	text  string
	scope scope
	place func(offset int) Place

	usesPolicy bool
	tokens     []token
}

// patternUse is what a function or an operator takes for a pattern: a field of the policy, or a string of the
// matcher.
type patternUse struct {
	function string
	field    string // "p.obj"
	literal  string
	scope    scope // of the expression that it stands in
	at       Place
}

// PatternArguments are the functions that match patterns, and which of their arguments is one.
var PatternArguments = map[string]int{
	"keyMatch": 1, "keyMatch2": 1, "keyMatch3": 1, "keyMatch4": 1, "keyMatch5": 1,
	"keyGet": 1, "keyGet2": 1, "keyGet3": 1, "regexMatch": 1, "ipMatch": 1, "globMatch": 1, "eval": 0,
}

// check reports what is wrong with the expression, and returns the patterns in it.
func (e *expression) check(r *Report) []patternUse {
	if len(e.text) > maxExpression {
		r.Errorf(e.place(0), "the expression has %d bytes; at most %d are read", len(e.text), maxExpression)
		return nil
	}
	if !e.tokenize(r) {
		return nil
	}
	before := len(r.Findings)
	depth := 0
	var patterns []patternUse
	for i, t := range e.tokens {
		switch t.kind {
		case tokenName:
			patterns = append(patterns, e.checkName(i, r)...)
		case tokenString:
			e.checkString(t, r)
		case tokenSymbol:
			if t.text == "(" {
				depth++
			} else if t.text == ")" {
				depth--
			} else if t.text == "~" && i > 0 && strings.Contains("=!", e.tokens[i-1].text) {
				e.checkMatch(i+1, r)
			}
			if depth > maxNesting {
				r.Errorf(e.place(t.offset), "parentheses nest deeper than %d", maxNesting)
				return nil
			}
		case tokenNumber: // any will do
		}
	}
	if len(r.Findings) == before { // its positions are coarser than ours
		if err := parseExpression(e); err != nil {
			r.Errorf(e.place(0), "%v", err)
		}
	}
	return patterns
}

func (e *expression) checkName(i int, r *Report) []patternUse {
	t := e.tokens[i]
	if i+1 < len(e.tokens) && e.tokens[i+1].text == "(" && e.tokens[i+1].kind == tokenSymbol && t.text != "in" && t.text != "IN" {
		return e.checkCall(i, r)
	}
	if slices.Contains([]string{"true", "false", "in", "IN"}, t.text) {
		return nil
	}
	name, attribute := e.fieldOf(t.text)
	switch {
	case name == "":
		r.Errorf(e.place(t.offset), "unknown name %s; known are %s", t.text, strings.Join(slices.Sorted(maps.Keys(e.scope.fields)), ", "))
	case attribute && name[0] == 'p':
		r.Errorf(e.place(t.offset), "%s: a field of a rule is a string and has no attributes", t.text)
	case t.glued && strings.Contains(t.text, "."):
		r.Errorf(e.place(t.offset), "Casbin does not recognise %s right after the sign before it; put a space between", t.text)
	case name[0] == 'p':
		e.usesPolicy = true
	}
	if name != "" && e.behindMatch(i) {
		return e.patternOf("regexMatch", e.tokens[i:i+1], r)
	}
	return nil
}

// fieldOf returns the field that a name begins with, as "r.sub", and whether an attribute of it is meant.
// Casbin writes r_sub for r.sub, and so may the author.
func (e *expression) fieldOf(name string) (field string, attribute bool) {
	head, rest, _ := strings.Cut(name, ".")
	if section, own, ok := strings.Cut(head, "_"); ok && e.scope.fields[section+"."+own] {
		return section + "." + own, rest != ""
	}
	own, deeper, attribute := strings.Cut(rest, ".")
	if !e.scope.fields[head+"."+own] || attribute && deeper == "" {
		return "", false
	}
	return head + "." + own, attribute
}

func (e *expression) checkCall(i int, r *Report) []patternUse {
	t := e.tokens[i]
	at := e.place(t.offset)
	want, ok := e.scope.functions[t.text]
	if !ok {
		r.Errorf(at, "unknown function %s; known are %s", t.text, strings.Join(slices.Sorted(maps.Keys(e.scope.functions)), ", "))
		return nil
	}
	args := e.arguments(i + 1)
	if len(args) < want.Least || len(args) > want.most {
		r.Errorf(at, "%s has %d arguments; it takes %s", t.text, len(args), want)
		return nil
	}
	index, ok := PatternArguments[t.text]
	if !ok {
		return nil
	}
	return e.patternOf(t.text, args[index], r)
}

// patternOf returns the pattern that stands in those tokens, where a single field or string does. What the
// caller sends must not stand there at all: it would choose what it matches, and Casbin keeps some patterns.
func (e *expression) patternOf(function string, tokens []token, r *Report) []patternUse {
	for _, t := range tokens {
		if field, _ := e.fieldOf(t.text); t.kind == tokenName && field != "" && field[0] == 'r' {
			r.Errorf(e.place(t.offset), "%s would take what the caller sends, %s, for a pattern; the pattern must come from the policy", function, t.text)
			return nil
		}
	}
	for len(tokens) > 2 && tokens[0].text == "(" && closes(tokens) == len(tokens)-1 {
		tokens = tokens[1 : len(tokens)-1]
	}
	if len(tokens) != 1 {
		if function == "eval" {
			r.Errorf(e.place(tokens[0].offset), "eval takes a field of the policy, and nothing else, so that what it runs can be checked")
		}
		return nil
	}
	p := patternUse{function: function, scope: e.scope, at: e.place(tokens[0].offset)}
	if tokens[0].kind == tokenString {
		p.literal = tokens[0].text
		return []patternUse{p}
	}
	p.field, _ = e.fieldOf(tokens[0].text)
	if p.field == "" {
		return nil // a number, say, which the function itself refuses
	}
	return []patternUse{p}
}

// closes returns where the parenthesis is closed with which the tokens begin, or -1.
func closes(tokens []token) int {
	depth := 0
	for i, t := range tokens {
		switch {
		case t.kind == tokenSymbol && t.text == "(":
			depth++
		case t.kind == tokenSymbol && t.text == ")":
			depth--
		}
		if depth == 0 {
			return i
		}
	}
	return -1
}

// checkMatch refuses what a caller sends anywhere in what =~ or !~ takes for a regular expression, which begins at i.
func (e *expression) checkMatch(i int, r *Report) {
	depth := 0
	for _, t := range e.tokens[i:] {
		switch t.kind {
		case tokenSymbol:
			switch t.text {
			case "(":
				depth++
			case ")":
				depth--
			}
			if depth < 0 || depth == 0 && strings.ContainsAny(t.text, "&|,?:") {
				return
			}
		case tokenName:
			if field, _ := e.fieldOf(t.text); field != "" && field[0] == 'r' {
				r.Errorf(e.place(t.offset), "=~ would take what the caller sends, %s, for a pattern; the pattern must come from the policy", t.text)
				return
			}
		case tokenString, tokenNumber:
		}
	}
}

// behindMatch reports whether the token at i is what =~ or !~ takes for a regular expression.
func (e *expression) behindMatch(i int) bool {
	for i--; i >= 0 && e.tokens[i].text == "("; i-- {
		continue
	}
	return i >= 1 && e.tokens[i].kind == tokenSymbol && e.tokens[i].text == "~" && strings.Contains("=!", e.tokens[i-1].text)
}

// arguments returns the tokens of each argument of the call whose parenthesis opens at i.
func (e *expression) arguments(i int) [][]token {
	var args [][]token
	depth, start := 0, i+1
	for j := i; j < len(e.tokens); j++ {
		if e.tokens[j].kind != tokenSymbol {
			continue
		}
		switch e.tokens[j].text {
		case "(", "[":
			depth++
		case ")", "]":
			depth--
		}
		if depth == 0 || depth == 1 && e.tokens[j].text == "," {
			if j > start || len(args) > 0 {
				args = append(args, e.tokens[start:j])
			}
			start = j + 1
		}
		if depth == 0 {
			break
		}
	}
	return args
}

func (e *expression) checkString(t token, r *Report) {
	at := e.place(t.offset)
	if unescaped := CasbinNames(`"` + t.text + `"`); unescaped != `"`+t.text+`"` {
		r.Errorf(at, "Casbin takes a part of the string %q for a field and reads it as %s", t.text, unescaped)
	}
	if !e.scope.inPolicy && strings.ContainsAny(t.text, "[]") && strings.Contains(e.text, "in") {
		r.Errorf(at, "Casbin reads the square brackets in the string %q as parentheses, because \"in\" occurs in the matcher; move the string into the policy", t.text)
	}
}

type tokenKind uint8

const (
	tokenSymbol tokenKind = iota
	tokenName
	tokenString
	tokenNumber
)

type token struct {
	kind   tokenKind
	text   string // of a string, what stands between its quotes
	offset int
	glued  bool // the sign before it keeps Casbin from seeing a field name
}

// beforeField are the signs after which Casbin recognises "r." and "p.".
const beforeField = "()|&,=!><+-*/ \t"

// tokenize splits the text where Casbin's expression parser does.
func (e *expression) tokenize(r *Report) bool {
	for i := 0; i < len(e.text); {
		c, size := utf8.DecodeRuneInString(e.text[i:])
		start := i
		switch {
		case unicode.IsSpace(c):
			i += size
			continue
		case c == '"' || c == '\'':
			end := e.stringEnd(i + 1)
			if end < 0 {
				r.Errorf(e.place(i), "a string that does not end")
				return false
			}
			if e.text[end] != e.text[i] {
				r.Errorf(e.place(end), "the string begins with %c and holds %c, where Casbin ends it", c, e.text[end])
				return false
			}
			e.tokens = append(e.tokens, token{kind: tokenString, text: e.text[i+1 : end], offset: i})
			i = end + 1
			continue
		case unicode.IsLetter(c):
			i += nameLength(e.text[i:])
			glued := start > 0 && !strings.ContainsRune(beforeField, rune(e.text[start-1]))
			e.tokens = append(e.tokens, token{tokenName, e.text[start:i], start, glued})
			continue
		case c >= '0' && c <= '9':
			i += nameLength(e.text[i:])
			e.tokens = append(e.tokens, token{kind: tokenNumber, text: e.text[start:i], offset: start})
			continue
		case c == '[' && e.scope.inPolicy:
			r.Errorf(e.place(i), "a square bracket; in a rule, write a list with parentheses")
			return false
		}
		i += size
		e.tokens = append(e.tokens, token{kind: tokenSymbol, text: e.text[start:i], offset: start})
	}
	return true
}

// stringEnd returns where the string ends whose text begins at i: at either quote. In a rule a backslash
// escapes what follows; in a matcher Casbin doubles it, so that it stands for itself.
func (e *expression) stringEnd(i int) int {
	for ; i < len(e.text); i++ {
		switch e.text[i] {
		case '"', '\'':
			return i
		case '\\':
			if e.scope.inPolicy {
				i++
			}
		}
	}
	return -1
}

func nameLength(text string) int {
	for i, c := range text {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '_' && c != '.' {
			return i
		}
	}
	return len(text)
}
