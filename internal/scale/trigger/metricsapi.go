package trigger

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/tidwall/gjson"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// newMetricsAPI reads one number from an HTTP endpoint that answers in JSON, XML, YAML or Prometheus' text format.
func newMetricsAPI(c Config) (Source, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	auth, err := newWebAuth(v, v.List("authModes"), "apiKey", "basic", "tls", "bearer")
	if err != nil {
		return nil, err
	}
	if v.Bool("aggregateFromKubeServiceEndpoints") {
		return nil, errors.New(`"aggregateFromKubeServiceEndpoints" is not supported; let Prometheus gather the pods and use the prometheus trigger`)
	}
	metric, err := c.metric("metric-api-"+v.Text("valueLocation"), "targetValue", v.Float("targetValue"))
	if err != nil {
		return nil, err
	}
	trust := certificates{unsafe: v.Bool("unsafeSsl")}
	if auth.on("tls") {
		trust = certificates{v.Text("cert"), v.Text("key"), "", v.Text("ca"), v.Bool("unsafeSsl")}
	}
	config, err := trust.config()
	if err != nil {
		return nil, err
	}
	p := c.probe(metric, v)
	client := newWeb(c.Dialer, auth, config, p.limit)
	p.free = client.close
	p.ask = func(ctx context.Context) (sample, error) {
		body, err := client.get(ctx, v.Text("url"), nil)
		if err != nil {
			return sample{}, err
		}
		value, err := locate(body, v.Text("format"), v.Text("valueLocation"))
		return sample{value: value, active: value > v.Float("activationTargetValue")}, err
	}
	return p, nil
}

// locate finds the number that valueLocation points to.
func locate(body []byte, format, location string) (float64, error) {
	switch format {
	case "json":
		return fromJSON(body, location)
	case "yaml":
		converted, err := yaml.YAMLToJSON(body)
		if err != nil {
			return 0, fmt.Errorf("the answer is no YAML: %w", err)
		}
		return walk(converted, location)
	case "xml":
		converted, err := xmlToJSON(body)
		if err != nil {
			return 0, fmt.Errorf("the answer is no XML: %w", err)
		}
		return walk(converted, location)
	}
	return fromPrometheusText(body, location)
}

func fromJSON(body []byte, location string) (float64, error) {
	found := gjson.GetBytes(body, location)
	switch found.Type {
	case gjson.Number:
		return found.Num, nil
	case gjson.String:
		return quantity(found.String(), location)
	}
	return 0, fmt.Errorf("valueLocation %q must point to a number, and points to %s", location, strings.ToLower(found.Type.String()))
}

func quantity(text, location string) (float64, error) {
	q, err := resource.ParseQuantity(strings.TrimSpace(text))
	if err != nil {
		return 0, fmt.Errorf("valueLocation %q points to text that is no number such as 5, 0.5 or 5k", location)
	}
	return q.AsApproximateFloat64(), nil
}

// walk follows the keys of a path such as a.b.c.
func walk(document []byte, path string) (float64, error) {
	var current any
	if err := json.Unmarshal(document, &current); err != nil {
		return 0, fmt.Errorf("reading the answer: %w", err)
	}
	for key := range strings.SplitSeq(path, ".") {
		object, ok := current.(map[string]any)
		if !ok || object[key] == nil {
			return 0, fmt.Errorf("valueLocation %q: the answer has no %q", path, key)
		}
		current = object[key]
	}
	switch value := current.(type) {
	case float64:
		return value, nil
	case string:
		return quantity(value, path)
	}
	return 0, fmt.Errorf("valueLocation %q must point to a number", path)
}

// maxDepth bounds how deep elements may be nested.
const maxDepth = 100

// xmlToJSON keeps the names and texts of elements, from the root's name on.
func xmlToJSON(body []byte) ([]byte, error) {
	decoder := xml.NewDecoder(bytes.NewReader(body))
	tree, _, err := xmlElements(decoder, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(tree) == 0 {
		return nil, errors.New("it has no element")
	}
	return json.Marshal(tree)
}

// xmlElements reads the elements up to the end of the one around them, and the text between.
func xmlElements(decoder *xml.Decoder, depth int) (map[string]any, string, error) {
	if depth > maxDepth {
		return nil, "", fmt.Errorf("elements are nested deeper than %d", maxDepth)
	}
	children, text := map[string]any{}, ""
	for {
		token, err := decoder.Token()
		if err != nil {
			return children, text, err
		}
		switch t := token.(type) {
		case xml.CharData:
			text += string(t)
		case xml.EndElement:
			return children, text, nil
		case xml.StartElement:
			inner, innerText, err := xmlElements(decoder, depth+1)
			if err != nil {
				return nil, "", err
			}
			if len(inner) > 0 {
				children[t.Name.Local] = inner
			} else {
				children[t.Name.Local] = innerText
			}
		}
	}
}

var (
	selector = regexp.MustCompile(`^\s*([a-zA-Z_:][a-zA-Z0-9_:]*)?\s*(?:\{(.*)\})?\s*$`)
	matcher  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"`)
)

// fromPrometheusText finds the first sample of a selector such as name{label="value"}.
func fromPrometheusText(body []byte, location string) (float64, error) {
	parts := selector.FindStringSubmatch(location)
	if parts == nil || parts[1] == "" {
		return 0, fmt.Errorf(`valueLocation %q is no selector such as queue_length{queue="orders"}`, location)
	}
	text := append(bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")), '\n')
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return 0, fmt.Errorf("the answer is not Prometheus' text format: %w", err)
	}
	family, ok := families[parts[1]]
	if !ok {
		return 0, fmt.Errorf("the answer has no metric %q", parts[1])
	}
	for _, metric := range family.GetMetric() {
		if value, has := plainValue(metric); has && matches(metric, matcher.FindAllStringSubmatch(parts[2], -1)) {
			return value, nil
		}
	}
	return 0, fmt.Errorf("the answer has no sample for %q", location)
}

func matches(metric *dto.Metric, wanted [][]string) bool {
	labels := map[string]string{}
	for _, pair := range metric.GetLabel() {
		labels[pair.GetName()] = pair.GetValue()
	}
	for _, w := range wanted {
		if labels[w[1]] != w[2] {
			return false
		}
	}
	return true
}

func plainValue(metric *dto.Metric) (float64, bool) {
	switch {
	case metric.Untyped != nil:
		return metric.GetUntyped().GetValue(), true
	case metric.Counter != nil:
		return metric.GetCounter().GetValue(), true
	case metric.Gauge != nil:
		return metric.GetGauge().GetValue(), true
	}
	return 0, false
}
