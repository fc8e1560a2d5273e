// Command scalers judges configurations of every scaler that KEDA has, with Escale's verdict and with KEDA's own
// constructors beside it, and counts where the two agree.
//
//	go run ./test/bench/scalers [-v]
//
// For each scaler there is one configuration that should be right, and one for each thing that can be wrong: a required
// parameter left out, a value of another kind, a value that is not allowed. KEDA's constructors connect to servers: an
// error of the network counts as accepted, for the configuration was read before. The last line is RESULT key=value ….
package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/escale-dev/escale/internal/scale/trigger"
	"github.com/escale-dev/escale/internal/scale/trigger/schema"
	"github.com/escale-dev/escale/test/bench/peer"
)

//go:embed verdicts.go.txt
var program string

//go:embed export.go.txt
var export string

func main() {
	verbose := flag.Bool("v", false, "print every disagreement")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "scalers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, verbose bool) error {
	module := peer.KEDA
	module.Package = "./cmd/verdicts"
	module.Files = map[string]string{"cmd/verdicts/main.go": program, "pkg/scaling/export_for_verdict.go": export}
	path, err := peer.Build(ctx, module)
	if err != nil {
		return err
	}
	all := cases()
	theirs, err := kedaVerdicts(ctx, path, all)
	if err != nil {
		return err
	}
	count(all, theirs, verbose)
	return nil
}

// kedaVerdicts asks KEDA's program.
func kedaVerdicts(ctx context.Context, path string, all []configuration) (map[int]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var in, out bytes.Buffer
	for _, c := range all {
		if err := json.NewEncoder(&in).Encode(c); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Stdin, cmd.Stdout = &in, &out
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("running KEDA's constructors: %w", err)
	}
	theirs := map[int]string{}
	for decoder := json.NewDecoder(&out); decoder.More(); {
		var v struct {
			ID    int
			Error string
		}
		if err := decoder.Decode(&v); err != nil {
			// Libraries of KEDA's write to the same output now and then.
			return theirs, fmt.Errorf("reading KEDA's verdicts: %w", err)
		}
		theirs[v.ID] = v.Error
	}
	return theirs, nil
}

// network is what an error says that came after the configuration was read.
var network = regexp.MustCompile(`connection refused|dial tcp|i/o timeout|deadline exceeded|no such host|run out of available brokers|no reachable|failed to connect|server selection|unable to create session|no hosts available|http status|all SubConns|x509|no EC2 IMDS role`)

func accepted(text string) bool { return text == "" || network.MatchString(text) }

// tally counts verdicts.
type tally struct{ cases, agree, goodAgree, goodAccepted int }

func count(all []configuration, theirs map[int]string, verbose bool) {
	var built, others, sum tally
	differ := map[string]int{}
	for _, c := range all {
		ours := trigger.Verdict(trigger.Config{Type: c.Type, Metadata: c.Metadata, Auth: c.Auth, MetricType: autoscalingv2.MetricTargetType(c.MetricType)})
		keda := accepted(theirs[c.ID])
		t := &others
		if slices.Contains(trigger.Types(), c.Type) {
			t = &built
		}
		for _, t := range []*tally{t, &sum} {
			t.add(c.change == "none", ours.Accepted() == keda, keda)
		}
		if ours.Accepted() != keda {
			differ[c.Type]++
			if verbose {
				fmt.Printf("%s, %s:\n  Escale %v: %v\n  KEDA %v: %.300s\n", c.Type, c.change, ours.Accepted(), ours.Err, keda, theirs[c.ID])
			}
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(differ)) {
		fmt.Printf("%-24s %d verdicts differ\n", kind, differ[kind])
	}
	fmt.Printf("RESULT scalers=%d built_in=%d cases=%d agree=%d agree_percent=%.1f built_in_cases=%d built_in_agree=%d right_configurations_agree=%d right_configurations_accepted=%d scalers_without_difference=%d\n",
		len(schema.Types()), len(trigger.Types())-1, sum.cases, sum.agree, 100*float64(sum.agree)/float64(sum.cases), built.cases, built.agree, sum.goodAgree, sum.goodAccepted, len(schema.Types())-len(differ))
}

func (t *tally) add(good, agree, accepted bool) {
	t.cases++
	if agree {
		t.agree++
	}
	if !good {
		return
	}
	if agree {
		t.goodAgree++
	}
	if accepted {
		t.goodAccepted++
	}
}
