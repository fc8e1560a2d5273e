package trigger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2/google"
	monitoring "google.golang.org/api/monitoring/v3"
	"google.golang.org/api/option"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// pubSub is one number that Google keeps of a subscription or topic.
type pubSub struct {
	kind, project, id string
	mode, aggregation string
	horizon           time.Duration
	ifNull            *float64
	credentials       string
	identity          bool
}

// newPubSub reads a number about a subscription or topic of Google Pub/Sub, such as its undelivered messages, from Cloud
// Monitoring, which knows it once a minute.
func newPubSub(c Config) (Source, error) { return newPubSubAt(c) }

// newPubSubAt lets a test name the server.
func newPubSubAt(c Config, options ...option.ClientOption) (Source, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	s, name, err := c.pubSub(v)
	if err != nil {
		return nil, err
	}
	metric, err := c.metric("gcp-ps-"+name, "value", v.Float("value"))
	if err != nil {
		return nil, err
	}
	p := c.probe(metric, v)
	p.limit = 2 * readLimit
	client := sync.OnceValues(func() (*monitoring.Service, error) { return s.service(options) })
	p.ask = func(ctx context.Context) (sample, error) {
		service, err := client()
		if err != nil {
			return sample{}, err
		}
		value, err := s.read(ctx, service)
		return sample{value: value, active: value > v.Float("activationValue")}, err
	}
	return p, nil
}

var (
	pubSubPath  = regexp.MustCompile(`^projects/([a-z][a-zA-Z0-9-]*[a-zA-Z0-9])/(?:subscriptions|topics)/([a-zA-Z][a-zA-Z0-9\-_~%+.]*)$`)
	pubSubID    = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9\-_~%+.]*$`)
	aggregation = regexp.MustCompile(`^(?:median|mean|variance|stddev|sum|count|percentile([0-9]{1,2}|100))$`)
)

func (c Config) pubSub(v schema.Values) (pubSub, string, error) {
	s := pubSub{kind: "subscription", mode: v.Text("mode"), aggregation: v.Text("aggregation"), horizon: v.Duration("timeHorizon")}
	subscription, topic := v.Text("subscriptionName"), v.Text("topicName")
	if (subscription == "") == (topic == "") {
		return s, "", errors.New(`set one of "subscriptionName" and "topicName"`)
	}
	if topic != "" {
		s.kind = "topic"
	}
	name := cmp.Or(subscription, topic)
	s.id = name
	if parts := pubSubPath.FindStringSubmatch(name); parts != nil {
		s.project, s.id = parts[1], parts[2]
	}
	if !pubSubID.MatchString(s.id) {
		return s, "", fmt.Errorf("%sName is %q; write a name, or projects/PROJECT/%ss/NAME", s.kind, name, s.kind)
	}
	if s.aggregation != "" && !aggregation.MatchString(s.aggregation) {
		return s, "", fmt.Errorf(`"aggregation" is %q; it must be mean, median, variance, stddev, sum, count or percentile99`, s.aggregation)
	}
	if v.Given("valueIfNull") {
		value := v.Float("valueIfNull")
		s.ifNull = &value
	}
	return s, name, c.googleLogin(&s)
}

// googleLogin takes the credentials from where KEDA looks for them.
func (c Config) googleLogin(s *pubSub) error {
	switch {
	case c.Identity.Provider == "gcp":
		s.identity = true
	case c.Auth["GoogleApplicationCredentials"] != "":
		s.credentials = c.Auth["GoogleApplicationCredentials"]
	case c.Metadata["credentialsFromEnv"] != "":
		s.credentials = c.Env[c.Metadata["credentialsFromEnv"]]
	case c.Metadata["credentialsFromEnvFile"] != "":
		return errors.New(`"credentialsFromEnvFile" names a file of the pod, which Escale cannot read; use credentialsFromEnv or a TriggerAuthentication`)
	default:
		return errors.New(`no credentials: set "GoogleApplicationCredentials" in the TriggerAuthentication, or use the pod identity gcp`)
	}
	return nil
}

// service makes the client, and finds the project that credentials belong to where the name does not say it.
func (s *pubSub) service(options []option.ClientOption) (*monitoring.Service, error) {
	ctx := context.Background()
	if s.identity {
		s.project = cmp.Or(s.project, os.Getenv("CLOUDSDK_CORE_PROJECT"))
		found, err := google.FindDefaultCredentials(ctx, monitoring.MonitoringReadScope)
		if err == nil {
			s.project = cmp.Or(s.project, found.ProjectID)
		}
		return monitoring.NewService(ctx, options...)
	}
	var file struct {
		Project string `json:"project_id"`
	}
	if err := json.Unmarshal([]byte(s.credentials), &file); err != nil {
		return nil, errors.New("the Google credentials are no JSON; give the whole key file of a service account")
	}
	s.project = cmp.Or(s.project, file.Project)
	login := option.WithAuthCredentialsJSON(option.ServiceAccount, []byte(s.credentials))
	return monitoring.NewService(ctx, append([]option.ClientOption{login}, options...)...)
}

func (s *pubSub) read(ctx context.Context, service *monitoring.Service) (float64, error) {
	request := &monitoring.QueryTimeSeriesRequest{Query: s.query(), PageSize: 1}
	got, err := service.Projects.TimeSeries.Query("projects/"+s.project, request).Context(ctx).Do()
	if err != nil {
		return 0, err
	}
	if len(got.TimeSeriesData) > 0 && len(got.TimeSeriesData[0].PointData) > 0 {
		return pointValue(got.TimeSeriesData[0].PointData[0])
	}
	if s.ifNull != nil {
		return *s.ifNull, nil
	}
	return 0, fmt.Errorf(`Cloud Monitoring knows nothing of %s %q; correct the name, or set "valueIfNull"`, s.kind, s.id)
}

func pointValue(point *monitoring.PointData) (float64, error) {
	if len(point.Values) > 0 {
		switch v := point.Values[0]; {
		case v.Int64Value != nil:
			return float64(*v.Int64Value), nil
		case v.DoubleValue != nil:
			return *v.DoubleValue, nil
		case v.DistributionValue != nil:
			return v.DistributionValue.Mean, nil
		}
	}
	return 0, errors.New("the answer holds no number")
}

// query asks for the newest value, or for an aggregate of the last minutes, in Google's query language for monitoring.
func (s *pubSub) query() string {
	mode := s.mode
	if mode == "SubscriptionSize" {
		mode = "NumUndeliveredMessages"
	}
	horizon := s.horizon
	if horizon == 0 {
		horizon = 2 * time.Minute
		if s.aggregation != "" {
			horizon = 5 * time.Minute
		}
	}
	query := fmt.Sprintf("fetch pubsub_%s | metric 'pubsub.googleapis.com/%s/%s' | filter (resource.project_id == '%s' && resource.%s_id == '%s') | within %s",
		s.kind, s.kind, snake(mode), s.project, s.kind, s.id, horizon)
	if s.aggregation == "" {
		return query
	}
	reduce := s.aggregation + "(value)"
	if percent := strings.TrimPrefix(s.aggregation, "percentile"); percent != s.aggregation {
		n, _ := strconv.Atoi(percent)
		reduce = fmt.Sprintf("percentile(value, %d)", n)
	}
	return query + " | align delta(3m) | every 3m | group_by [], " + reduce
}

var (
	wordStart = regexp.MustCompile(`(.)([A-Z][a-z]+)`)
	wordEnd   = regexp.MustCompile(`([a-z0-9])([A-Z])`)
)

// snake writes "NumUndeliveredMessages" as "num_undelivered_messages".
func snake(camel string) string {
	return strings.ToLower(wordEnd.ReplaceAllString(wordStart.ReplaceAllString(camel, "${1}_${2}"), "${1}_${2}"))
}
