package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// newPrometheus reads the value of a query that gives one number.
func newPrometheus(c Config) (Source, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	auth, err := newWebAuth(v, v.List("authModes"))
	if err != nil {
		return nil, err
	}
	if err := c.refuseCloudPrometheus(v, auth); err != nil {
		return nil, err
	}
	metric, err := c.metric("prometheus", "threshold", v.Float("threshold"))
	if err != nil {
		return nil, err
	}
	trust := certificates{ca: v.Text("ca"), unsafe: v.Bool("unsafeSsl")}
	if auth.on("tls") {
		trust.cert, trust.key = v.Text("cert"), v.Text("key")
	}
	config, err := trust.config()
	if err != nil {
		return nil, err
	}
	p := c.probe(metric, v)
	client := newWeb(c.Dialer, auth, config, p.limit)
	p.free = client.close
	p.ask = func(ctx context.Context) (sample, error) {
		value, err := queryPrometheus(ctx, client, v, p.now())
		return sample{value: value, active: value > v.Float("activationThreshold")}, err
	}
	return p, nil
}

// refuseCloudPrometheus names the ways to prove an identity that are not built in.
func (c Config) refuseCloudPrometheus(v schema.Values, auth webAuth) error {
	none := c.Identity.Provider == "" || c.Identity.Provider == "none"
	if !none && len(auth.modes) > 0 {
		return errors.New("a pod identity and authModes exclude each other; leave one out")
	}
	if !none || v.Text("awsRegion") != "" {
		return errors.New("the managed Prometheus of a cloud is not supported with a pod identity; use a proxy that signs requests, or authModes")
	}
	return nil
}

func queryPrometheus(ctx context.Context, client *web, v schema.Values, now time.Time) (float64, error) {
	query := url.Values{"query": {v.Text("query")}, "time": {now.UTC().Format(time.RFC3339)}}
	if v.Text("namespace") != "" {
		query.Set("namespace", v.Text("namespace"))
	}
	for name, value := range v.Map("queryParameters") {
		query.Set(name, value)
	}
	address := strings.TrimSuffix(v.Text("serverAddress"), "/") + "/api/v1/query?" + query.Encode()
	body, err := client.get(ctx, address, func(r *http.Request) {
		for name, value := range v.Map("customHeaders") {
			r.Header.Add(name, value)
		}
	})
	if err != nil {
		return 0, err
	}
	value, found, err := parsePrometheus(body)
	if err != nil || found || v.Bool("ignoreNullValues") {
		return value, err
	}
	return 0, errors.New(`the query gives no value; correct it, or set "ignoreNullValues" to "true" to take that for 0`)
}

// parsePrometheus reads the one value of an answer; found is false when there is none.
func parsePrometheus(body []byte) (value float64, found bool, err error) {
	var answer struct {
		Data struct {
			Result []struct {
				Value []any `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, false, fmt.Errorf("the answer is not what Prometheus gives: %w", err)
	}
	results := answer.Data.Result
	if len(results) > 1 {
		return 0, false, fmt.Errorf("the query gives %d values; write it so that it gives one, for example with sum(...)", len(results))
	}
	if len(results) == 0 || len(results[0].Value) == 0 {
		return 0, false, nil
	}
	if len(results[0].Value) < 2 {
		return 0, false, errors.New("the answer has a time and no value")
	}
	text, ok := results[0].Value[1].(string)
	if !ok {
		return 0, false, errors.New("the answer has a value that is no text")
	}
	value, err = strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, false, fmt.Errorf("the answer's value %q is no number", text)
	}
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return 0, false, nil
	}
	return value, true, nil
}
