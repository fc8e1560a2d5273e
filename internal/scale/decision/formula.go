package decision

import (
	"errors"
	"fmt"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"
)

// Formula makes one value of those of several triggers, in the language of expr-lang.org, as KEDA's scalingModifiers do.
type Formula struct {
	// Kind and Target are those of the result. Activation is the result above which there is work.
	Kind               Kind
	Target, Activation float64

	program *vm.Program
}

// The bounds of a formula, which is text of a stranger.
const (
	maxFormula       = 4 << 10
	maxFormulaNodes  = 1000
	maxFormulaMemory = 10_000
)

var (
	errNil       = errors.New("the formula gives nil and there is no fallback")
	errNotNumber = errors.New("the formula gives no number")
)

// CompileFormula reads a formula over the names of triggers and tries it once, so that a name that is not there is
// found now.
func CompileFormula(text string, names []string, kind Kind, target, activation float64) (*Formula, error) {
	if len(text) > maxFormula {
		return nil, fmt.Errorf("formula of %d bytes: at most %d are read", len(text), maxFormula)
	}
	env := make(map[string]float64, len(names))
	for _, n := range names {
		env[n] = -1
	}
	program, err := expr.Compile(asNumber(text), expr.Env(env), expr.MaxNodes(maxFormulaNodes))
	if err != nil {
		return nil, fmt.Errorf("reading formula %q: %w", text, err)
	}
	f := &Formula{Kind: kind, Target: target, Activation: activation, program: program}
	values := make(map[string]any, len(names))
	for _, n := range names {
		values[n] = -1.0
	}
	if _, _, err := f.eval(values); err != nil {
		return nil, fmt.Errorf("trying formula %q: %w", text, err)
	}
	return f, nil
}

// asNumber makes the result a number: a condition gives whole numbers where its branches do. nil stays nil.
func asNumber(text string) string {
	if strings.Contains(text, "??") {
		return "let escaleResult = (" + text + "); escaleResult == nil ? nil : float(escaleResult)"
	}
	return "float(" + text + ")"
}

// run computes the formula over the demands; false if it gives nil.
func (f *Formula) run(d *deciding) (float64, bool, error) {
	values := make(map[string]any, len(d.set.Metrics))
	for i := range d.set.Metrics {
		m, got := &d.set.Metrics[i], &d.st.metrics[i]
		if m.Resource || m.Trigger == "" {
			continue
		}
		switch {
		case got.Fallback:
			values[m.Trigger] = nil
		case d.f.unknown(i):
			return 0, false, fmt.Errorf("metric %q was never read", m.Name)
		default:
			values[m.Trigger] = got.Demand
		}
	}
	return f.eval(values)
}

func (f *Formula) eval(values map[string]any) (float64, bool, error) {
	machine := vm.VM{MemoryBudget: maxFormulaMemory}
	out, err := machine.Run(f.program, values)
	if err != nil {
		return 0, false, fmt.Errorf("computing formula: %w", err)
	}
	if out == nil {
		return 0, false, nil
	}
	value, ok := out.(float64)
	if !ok {
		return 0, false, fmt.Errorf("%w, but %T", errNotNumber, out)
	}
	return value, true, nil
}
