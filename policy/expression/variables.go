package expression

import (
	"slices"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/kasbah-authz/kasbah/policy"
)

// scope is what one evaluation is about.
type scope struct {
	req       *policy.Request
	principal *policy.Principal
}

// A variable is one name that expressions may use. Exactly one of the functions is set; it says what kind the
// variable is, and both ways of evaluation, CEL's and the direct one, read through it.
type variable struct {
	name string
	text func(s scope) string
	list func(s scope) []string
	// lookup is of a map to strings, names its keys in order. Where a lookup reads the whole text, sorted
	// stands for names: CEL, which may look up often, asks it first, and only once.
	lookup func(s scope, key string) (value string, found bool, err error)
	names  func(s scope) []string
	sorted func(s scope) ([]string, error)
	// lists is of a map to lists of strings, with names as well.
	lists func(s scope, key string) (values []string, found bool)
	// object is of a map to anything.
	object func(s scope) map[string]any
	// other is a value of another type, whose CEL type is kind.
	other func(s scope) ref.Val
	// value is a value of any type, or the error that there is none.
	value func(s scope) (any, error)
	kind  *cel.Type
}

func (v *variable) celType() *cel.Type {
	switch {
	case v.text != nil:
		return cel.StringType
	case v.list != nil:
		return cel.ListType(cel.StringType)
	case v.lookup != nil:
		return cel.MapType(cel.StringType, cel.StringType)
	case v.lists != nil:
		return cel.MapType(cel.StringType, cel.ListType(cel.StringType))
	case v.object != nil:
		return cel.MapType(cel.StringType, cel.DynType)
	case v.value != nil:
		return cel.DynType
	}
	return v.kind
}

// resolve returns the variable's value for CEL; a [*types.Err] is an error there. An object is returned as it is:
// CEL then follows a path into it without looking at what lies beside the path.
func (v *variable) resolve(s scope) any {
	switch {
	case v.text != nil:
		return textValue(v.text(s))
	case v.list != nil:
		return listValue(v.list(s))
	case v.lookup != nil, v.lists != nil:
		t, err := newTable(v, s)
		if err != nil {
			return types.WrapErr(err)
		}
		return t
	case v.object != nil:
		return v.object(s)
	case v.value != nil:
		value, err := v.value(s)
		if err != nil {
			return types.WrapErr(err)
		}
		return value
	}
	return v.other(s)
}

// variables are all there are. The order is that of the documentation, and of ties in suggestions.
var variables = []variable{
	{name: "request.id", text: func(s scope) string { return s.req.ID }},
	{name: "request.method", text: func(s scope) string { return s.req.Method }},
	{name: "request.scheme", text: func(s scope) string { return s.req.Scheme }},
	{name: "request.host", text: func(s scope) string { return s.req.Host }},
	{name: "request.path", text: func(s scope) string { return s.req.Path }},
	{name: "request.protocol", text: func(s scope) string { return s.req.Protocol }},
	{name: "request.size", kind: cel.IntType, other: func(s scope) ref.Val { return types.Int(s.req.Size) }},
	{name: "request.time", kind: cel.TimestampType, other: func(s scope) ref.Val { return timeValue(s.req.Time) }},
	{name: "request.params", lookup: param, names: paramNames},
	{name: "request.query", lookup: parameter, sorted: parameterNames},
	{name: "request.headers", lookup: header, names: headerNames},
	{name: "request.header_values", lists: headerValues, names: headerNames},

	{name: "principal.id", text: func(s scope) string { return s.principal.ID }},
	{name: "principal.provider", text: func(s scope) string { return s.principal.Provider }},
	{name: "principal.issuer", text: func(s scope) string { return s.principal.Issuer }},
	{name: "principal.subject", text: func(s scope) string { return s.principal.Subject }},
	{name: "principal.tenant", text: func(s scope) string { return s.principal.Tenant }},
	{name: "principal.roles", list: func(s scope) []string { return s.principal.Roles }},
	{name: "principal.scopes", list: func(s scope) []string { return s.principal.Scopes }},
	{name: "principal.claims", object: func(s scope) map[string]any { return s.principal.Claims }},
	{name: "principal.anonymous", kind: cel.BoolType, other: func(s scope) ref.Val { return types.Bool(s.principal.Anonymous()) }},
	{name: "principal.expires", kind: cel.TimestampType, other: expires},

	{name: "source.address", text: func(s scope) string { return s.req.Source.Address }},
	{name: "source.port", kind: cel.IntType, other: func(s scope) ref.Val { return types.Int(s.req.Source.Port) }},
	{name: "source.principal", text: func(s scope) string { return s.req.Source.Principal }},
	{name: "destination.address", text: func(s scope) string { return s.req.Destination.Address }},
	{name: "destination.port", kind: cel.IntType, other: func(s scope) ref.Val { return types.Int(s.req.Destination.Port) }},
	{name: "destination.principal", text: func(s scope) string { return s.req.Destination.Principal }},

	{name: "body", value: body},
	{name: "attributes", lookup: attribute, names: attributeNames},
	{name: "metadata", object: metadata},
}

func variableNamed(name string) *variable {
	i := slices.IndexFunc(variables, func(v variable) bool { return v.name == name })
	if i < 0 {
		return nil
	}
	return &variables[i]
}

// expires is null for a credential without an end, because no comparison with null is true: whoever means
// "or never" has to write it.
func expires(s scope) ref.Val {
	if s.principal.Expires.IsZero() {
		return types.NullValue
	}
	return timeValue(s.principal.Expires)
}

func timeValue(t time.Time) ref.Val { return types.Timestamp{Time: t.UTC()} }

func param(s scope, key string) (string, bool, error) {
	value, found := s.req.Param(key)
	return value, found, nil
}

func paramNames(s scope) []string {
	names := make([]string, len(s.req.Params))
	for i, p := range s.req.Params {
		names[i] = p.Name
	}
	return names
}

func attribute(s scope, key string) (string, bool, error) {
	value, found := s.req.Attributes[key]
	return value, found, nil
}

func attributeNames(s scope) []string {
	names := make([]string, 0, len(s.req.Attributes))
	for name := range s.req.Attributes {
		names = append(names, name)
	}
	slices.Sort(names) // so that one request always has one answer
	return names
}

// body is an error where no body was found valid, so that whoever asks for one that is not there denies.
func body(s scope) (any, error) {
	if s.req.Parsed == nil {
		return nil, errNoBody
	}
	value, err := s.req.Parsed()
	if err != nil {
		return nil, errNoBody // the text of that error may quote the body
	}
	return value, nil
}

func metadata(s scope) map[string]any {
	if s.req.Metadata == nil {
		return nil
	}
	return s.req.Metadata()
}

// activation resolves variables for CEL by name, when they are asked for, and each once: an expression may
// ask again in every round of a comprehension. It serves one evaluation.
type activation struct {
	scope
	known  []resolved
	buffer [4]resolved // what known begins in; few expressions have more variables
}

type resolved struct {
	name  string
	value any
}

func newActivation(s scope) *activation {
	a := &activation{scope: s}
	a.known = a.buffer[:0]
	return a
}

// ResolveName returns the value of a variable.
func (a *activation) ResolveName(name string) (any, bool) {
	for i := range a.known {
		if a.known[i].name == name {
			return a.known[i].value, true
		}
	}
	v := variableNamed(name)
	if v == nil {
		return nil, false
	}
	value := v.resolve(a.scope)
	a.known = append(a.known, resolved{name, value})
	return value, true
}

// Parent returns nil: there is nothing behind the variables.
func (a *activation) Parent() cel.Activation { return nil }

func textValue(text string) ref.Val {
	if !utf8.ValidString(text) {
		return types.WrapErr(errNotUTF8)
	}
	return types.String(text)
}

func listValue(list []string) ref.Val {
	if err := sound(list); err != nil {
		return types.WrapErr(err)
	}
	return types.NewStringList(adapter{}, list)
}
