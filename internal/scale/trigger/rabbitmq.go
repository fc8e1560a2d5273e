package trigger

import (
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// The modes of the rabbitmq trigger.
const (
	rabbitLength  = "QueueLength"
	rabbitRate    = "MessageRate"
	rabbitDeliver = "DeliverGetRate"
	rabbitRatio   = "PublishedToDeliveredRatio"
	rabbitTime    = "ExpectedQueueConsumptionTime"
	rabbitUnknown = "Unknown"
)

var rabbitModes = []string{rabbitLength, rabbitRate, rabbitDeliver, rabbitRatio, rabbitTime}

// rabbitSettings is a rabbitmq trigger after its rules.
type rabbitSettings struct {
	values     schema.Values
	mode       string
	target     float64
	activation float64
	http       bool
	auth       webAuth
	trust      certificates
	dialer     *Dialer
}

// newRabbitMQ counts the messages of a queue: over AMQP by declaring it passively, which changes nothing, or from the
// management API, which knows rates too. RabbitMQ tells nobody that a message came, short of consuming it, so that the
// queue is polled.
func newRabbitMQ(c Config) (Source, error) {
	s, err := c.rabbit()
	if err != nil {
		return nil, err
	}
	field := "value"
	if s.values.Given("queueLength") {
		field = "queueLength"
	}
	metric, err := c.metric("rabbitmq-"+url.QueryEscape(s.values.Text("queueName")), field, s.target)
	if err != nil {
		return nil, err
	}
	p := c.probe(metric, s.values)
	if s.http {
		return p, s.readHTTP(p)
	}
	return p, s.readAMQP(p, "escale-"+c.Object.Namespace+"-"+c.Object.Name)
}

func (c Config) rabbit() (rabbitSettings, error) {
	v, err := c.values()
	if err != nil {
		return rabbitSettings{}, err
	}
	s := rabbitSettings{values: v, activation: v.Float("activationValue"), trust: certificates{unsafe: v.Bool("unsafeSsl")}, dialer: c.Dialer}
	if v.Text("tls") == "enable" {
		s.trust = certificates{v.Text("cert"), v.Text("key"), v.Text("keyPassword"), v.Text("ca"), v.Bool("unsafeSsl")}
	}
	if s.http, err = rabbitOverHTTP(v); err != nil {
		return s, err
	}
	if err := s.check(); err != nil {
		return s, err
	}
	if err := s.checkOAuth(); err != nil {
		return s, err
	}
	return s, s.chooseMode()
}

// rabbitOverHTTP tells the protocol from the setting or the host's scheme.
func rabbitOverHTTP(v schema.Values) (bool, error) {
	switch v.Text("protocol") {
	case "http":
		return true, nil
	case "amqp":
		return false, nil
	case "auto":
	default:
		return false, fmt.Errorf(`"protocol" is %q; it must be auto, amqp or http`, v.Text("protocol"))
	}
	host, err := url.Parse(v.Text("host"))
	if err != nil {
		return false, errors.New(`"host" is no URL; write it as amqp://user:password@host:5672/vhost`)
	}
	switch host.Scheme {
	case "http", "https":
		return true, nil
	case "amqp", "amqps":
		return false, nil
	}
	return false, fmt.Errorf(`"host" has the scheme %q; it must be amqp, amqps, http or https`, host.Scheme)
}

// check holds the rules between two parameters.
func (s rabbitSettings) check() error {
	v := s.values
	switch {
	case v.Text("tls") != "enable" && v.Text("tls") != "disable":
		return errors.New(`"tls" must be enable or disable`)
	case (v.Text("cert") == "") != (v.Text("key") == ""):
		return errors.New(`"cert" and "key" go together; give both or none`)
	case v.Int("pageSize") < 1:
		return errors.New(`"pageSize" must be 1 or more`)
	case (v.Text("username") == "") != (v.Text("password") == ""):
		return errors.New(`"username" and "password" go together; give both or none`)
	case v.Text("workloadIdentityResource") != "":
		return errors.New(`"workloadIdentityResource" is not supported; use username and password, or OAuth 2`)
	case v.Bool("useRegex") && !s.http:
		return errors.New(`"useRegex" needs the management API; give an http host`)
	case v.Bool("excludeUnacknowledged") && !s.http:
		return errors.New(`"excludeUnacknowledged" needs the management API; give an http host`)
	case v.Bool("useRegex") && !slices.Contains([]string{"sum", "avg", "max"}, v.Text("operation")):
		return fmt.Errorf(`"operation" is %q; it must be sum, avg or max`, v.Text("operation"))
	}
	return nil
}

func (s *rabbitSettings) checkOAuth() error {
	v := s.values
	modes := v.List("authModes")
	wanted := v.Text("oauthTokenURI") != "" || v.Text("clientID") != "" || v.Text("clientSecret") != ""
	if wanted && len(modes) == 0 {
		modes = []string{"oauth"}
	}
	auth, err := newWebAuth(v, modes, "oauth", "basic", "tls")
	if err != nil {
		return err
	}
	// The user and the certificate come from the trigger's own parameters; only tokens come from here.
	s.auth = webAuth{values: v, modes: slices.DeleteFunc(slices.Clone(auth.modes), func(m string) bool { return m != "oauth" })}
	switch {
	case !wanted:
		return nil
	case v.Text("clientSecret") == "":
		return errors.New(`"clientSecret" is missing: OAuth 2 needs it in the TriggerAuthentication`)
	case !s.http:
		return errors.New("OAuth 2 needs the management API; give an http host")
	case v.Text("username") != "":
		return errors.New("OAuth 2 and a username exclude each other; leave one out")
	}
	return nil
}

// chooseMode settles mode and target, with queueLength as the old way to say both.
func (s *rabbitSettings) chooseMode() error {
	v := s.values
	mode, length, value := v.Text("mode"), v.Float("queueLength"), v.Float("value")
	switch {
	case length == 0 && mode == rabbitUnknown && value == 0:
		s.mode, s.target = rabbitLength, 20
		return nil
	case length != 0 && (mode != rabbitUnknown || value != 0):
		return errors.New(`"queueLength" is the old way to write "mode" and "value"; leave it out`)
	case length != 0:
		s.mode, s.target = rabbitLength, length
		return nil
	case mode == rabbitUnknown:
		return errors.New(`"mode" is missing: say what "value" means, for example QueueLength`)
	case value == 0:
		return errors.New(`"value" is missing: say how much one replica takes`)
	case !slices.Contains(rabbitModes, mode):
		return fmt.Errorf(`"mode" is %q; it must be one of %v`, mode, rabbitModes)
	case mode != rabbitLength && !s.http:
		return fmt.Errorf(`"mode" %s needs the management API; give an http host`, mode)
	case !s.http && v.Given("timeout"):
		return errors.New(`"timeout" is for the management API; leave it out with amqp`)
	}
	s.mode, s.target = mode, value
	return nil
}

// rabbitQueue is what the broker knows of a queue.
type rabbitQueue struct {
	messages, published, delivered float64
}

// sample is the mode's number, and whether it means work.
func (s rabbitSettings) sample(q rabbitQueue) sample {
	switch s.mode {
	case rabbitRate:
		return sample{value: q.published, active: q.published > s.activation || q.messages > s.activation}
	case rabbitDeliver:
		return sample{value: q.delivered, active: q.delivered > s.activation}
	case rabbitRatio:
		return s.ratio(q)
	case rabbitTime:
		return s.consumptionTime(q)
	}
	return sample{value: q.messages, active: q.messages > s.activation}
}

func (s rabbitSettings) ratio(q rabbitQueue) sample {
	stuck := q.published > 0 && q.delivered == 0
	value := 0.0
	if stuck {
		value = s.activation
	} else if q.published > 0 {
		value = q.published / q.delivered
	}
	return sample{value: value, active: value > s.activation || stuck}
}

// consumptionTime is how many seconds the queue's messages last at the present rates.
func (s rabbitSettings) consumptionTime(q rabbitQueue) sample {
	stuck := q.messages > 0 && q.delivered == 0
	value := 0.0
	if stuck {
		value = s.activation
	} else if q.messages > 0 {
		value = (q.published-q.delivered)/q.delivered + q.messages/q.delivered
	}
	return sample{value: value, active: value > s.activation || stuck}
}
