package network

import (
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"

	"github.com/escale-dev/escale/internal/engine"
)

// mark is the comment on the rules that the platform adds to the machine's iptables.
const mark = "escale"

// passRules let the pods' packets through the machine's other firewall, such as ufw's or Docker's, which drop what they
// do not know. What is accepted there still meets the platform's own rules.
func passRules(plan engine.Network) [][]string {
	pods := plan.Pods.String()
	return [][]string{
		{"INPUT", "-s", pods},
		{"FORWARD", "-s", pods},
		{"FORWARD", "-d", pods},
	}
}

// passOthers adds the rules where the machine's iptables has any, and leaves an empty firewall empty.
func passOthers(plan engine.Network, log *slog.Logger) error {
	for _, rule := range passRules(plan) {
		chain := rule[0]
		have, err := listChain(chain)
		if err != nil {
			// Without iptables, or where its kernel modules are missing, it drops nothing.
			log.Debug("no other firewall to pass", "chain", chain, "err", err)
			return nil
		}
		if empty(have, chain) {
			continue
		}
		if err := iptables(slices.Concat([]string{"-I"}, rule, []string{"-m", "comment", "--comment", mark, "-j", "ACCEPT"})...); err != nil {
			return fmt.Errorf("letting pods pass the machine's firewall: %w", err)
		}
	}
	return nil
}

// removePasses takes away the rules of all platforms.
func removePasses() error {
	var errs []error
	for _, chain := range []string{"INPUT", "FORWARD"} {
		have, err := listChain(chain)
		if err != nil {
			return nil // as in passOthers
		}
		for _, d := range deletions(have) {
			if err := iptables(d...); err != nil {
				errs = append(errs, fmt.Errorf("removing a rule from the machine's firewall: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

// empty tells whether a chain, as `iptables -S` prints it, accepts everything.
func empty(listing, chain string) bool {
	return strings.TrimSpace(listing) == "-P "+chain+" ACCEPT"
}

// deletions are the arguments that delete each of the platform's rules in a chain as `iptables -S` prints it. Words in
// the platform's rules contain no spaces or quotes.
func deletions(listing string) [][]string {
	var found [][]string
	for line := range strings.Lines(listing) {
		words := strings.Fields(line)
		i := slices.Index(words, "--comment")
		if len(words) > 2 && words[0] == "-A" && i > 0 && i+1 < len(words) && words[i+1] == mark {
			words[0] = "-D"
			found = append(found, words)
		}
	}
	return found
}

func listChain(chain string) (string, error) {
	out, err := exec.Command("iptables", "-w", "-S", chain).Output()
	return string(out), err
}

func iptables(args ...string) error {
	out, err := exec.Command("iptables", append([]string{"-w"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("iptables %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
