package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// parameter is one entry of the published schema.
type parameter struct {
	Name               string   `json:"name"`
	Optional           bool     `json:"optional"`
	Default            string   `json:"default"`
	AllowedValue       []string `json:"allowedValue"`
	ExclusiveSet       []string `json:"exclusiveSet"`
	Deprecated         string   `json:"deprecated"`
	DeprecatedAnnounce string   `json:"deprecatedAnnounce"`
	Separator          string   `json:"separator"`
	RangeSeparator     string   `json:"rangeSeparator"`
	Metadata           bool     `json:"metadataVariableReadable"`
	Env                bool     `json:"envVariableReadable"`
	Auth               bool     `json:"triggerAuthenticationVariableReadable"`
}

func readPublished(path string) (map[string][]parameter, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the published schema: %w", err)
	}
	var document struct {
		Scalers []struct {
			Type       string      `json:"type"`
			Parameters []parameter `json:"parameters"`
		} `json:"scalers"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("reading the published schema: %w", err)
	}
	published := map[string][]parameter{}
	for _, scaler := range document.Scalers {
		published[scaler.Type] = scaler.Parameters
	}
	return published, nil
}

// agree checks that fields say of each published parameter just what is published.
func agree(parameters []parameter, fields []schema.Field) error {
	var told []parameter
	for _, f := range fields {
		for _, name := range f.Names {
			told = append(told, parameter{
				Name: name, Optional: f.Optional, Default: f.Default, AllowedValue: f.Allowed, ExclusiveSet: f.Exclusive,
				Deprecated: f.Removed, DeprecatedAnnounce: f.Deprecated, Separator: f.Separator, RangeSeparator: f.Range,
				Metadata: strings.Contains(f.From, "m"), Env: strings.Contains(f.From, "e"), Auth: strings.Contains(f.From, "a"),
			})
		}
	}
	if len(told) != len(parameters) {
		return fmt.Errorf("%d parameters are published, the code has %d", len(parameters), len(told))
	}
	for i, p := range parameters {
		if !same(p, told[i]) {
			return fmt.Errorf("parameter %q is published as %+v, the code has %+v", p.Name, p, told[i])
		}
	}
	return nil
}

func same(a, b parameter) bool {
	lists := slices.Equal(a.AllowedValue, b.AllowedValue) && slices.Equal(a.ExclusiveSet, b.ExclusiveSet)
	a.AllowedValue, b.AllowedValue, a.ExclusiveSet, b.ExclusiveSet = nil, nil, nil, nil
	return lists && fmt.Sprint(a) == fmt.Sprint(b)
}
