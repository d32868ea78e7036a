package expression

import (
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
)

// Bounds of expressions.
const (
	maxSource     = 4 << 10 // code points
	maxDepth      = 64      // of parentheses and the like
	maxNodes      = 2_000   // after macros are expanded
	maxNesting    = 2       // of comprehensions: the cost is the product of their lengths
	maxProgram    = 500     // instructions of a regular expression; it runs length × program at worst
	maxMultiplier = 64      // bytes of what replace or join puts in for one byte
	// maxCost is where an evaluation ends with an error, in CEL's units. One is about 20 ns.
	maxCost = 200_000
)

// environment returns the one environment that all expressions are compiled in. It never changes.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.CustomTypeAdapter(adapter{}),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxSource),
		cel.ParserRecursionLimit(maxDepth),
		cel.ParserErrorRecoveryLimit(4),
		cel.ExpressionNodeLimit(maxNodes),
		cel.RegexProgramSizeLimit(maxProgram),
		cel.ExtendedValidations(),
		cel.ASTValidators(cel.ValidateComprehensionNestingLimit(maxNesting), bounds{}),
		ext.Strings(),
	}
	for i := range variables {
		options = append(options, cel.Variable(variables[i].name, variables[i].celType()))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, err
	}
	// What it suggests in place of an unknown name is made with the first one, and read without a lock by whoever compiles at that
	// time (cel-go 0.33.2). So it is made before anybody does.
	_, _ = env.Compile("unknown")
	return env, nil
})

// bounds refuses, at load, calls whose time or memory a client could choose.
type bounds struct{}

// Name returns the name that CEL knows the check by.
func (bounds) Name() string { return "kasbah.bounds" }

// Validate reports each such call, and each use of a [table] that could lose an error in it.
func (bounds) Validate(_ *cel.Env, _ cel.ValidatorConfig, checked *ast.AST, issues *cel.Issues) {
	asked := map[int64]bool{checked.Expr().ID(): true} // the tables that are asked for keys, or are the result
	ast.PreOrderVisit(checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			asked[e.AsSelect().Operand().ID()] = true
		case ast.ComprehensionKind:
			asked[e.AsComprehension().IterRange().ID()] = true
		case ast.CallKind:
			if operand := askedBy(e.AsCall()); operand != nil {
				asked[operand.ID()] = true
			}
			if message := outOfBounds(checked, e.AsCall()); message != "" {
				issues.ReportErrorAtID(e.ID(), "%s", message)
			}
		case ast.IdentKind:
			v := variableNamed(e.AsIdent())
			if v != nil && (v.lookup != nil || v.lists != nil) && !asked[e.ID()] {
				issues.ReportErrorAtID(e.ID(), "%s can only be asked for its keys, as in %s[\"a\"], \"a\" in %s or size(%s)",
					v.name, v.name, v.name, v.name)
			}
		default: // the other kinds ask for nothing
		}
	}))
}

// askedBy returns the operand that a call asks for its keys.
func askedBy(call ast.CallExpr) ast.Expr {
	args := call.Args()
	switch name := call.FunctionName(); {
	case name == operators.Index:
		return args[0]
	case name == operators.In:
		return args[1]
	case name == overloads.Size && call.IsMemberFunction():
		return call.Target()
	case name == overloads.Size:
		return args[0]
	}
	return nil
}

func outOfBounds(checked *ast.AST, call ast.CallExpr) string {
	args := call.Args()
	switch name := call.FunctionName(); {
	case name == overloads.Matches:
		if _, ok := literal(args[len(args)-1]); !ok {
			return "the pattern of matches must be a literal, because it is compiled at load"
		}
	case name == "replace" && len(args) > 1:
		if text, ok := literal(args[1]); !ok || len(text) > maxMultiplier {
			return "what replace puts in must be a literal of at most 64 bytes, so that the result stays bounded"
		}
	case name == "join" && len(args) > 0:
		if text, ok := literal(args[0]); !ok || len(text) > maxMultiplier {
			return "what join puts between must be a literal of at most 64 bytes, so that the result stays bounded"
		}
	case name == "format":
		return "format is not available; use + and string()"
	case call.IsMemberFunction() && len(args) == 1 && checked.GetType(call.Target().ID()).IsExactType(cel.TimestampType):
		if _, ok := literal(args[0]); !ok {
			return "a time zone must be a literal"
		}
	}
	return ""
}

func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().(types.String)
	return string(text), ok
}
