package trigger

import (
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// kafkaVersion is a version as KEDA's client reads it.
var kafkaVersion = regexp.MustCompile(`^(0\.\d+\.\d+\.\d+|[1-9]\d*\.\d+\.\d+)$`)

// newKafka counts the records that a consumer group has not committed yet.
func newKafka(c Config) (Source, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	rules, err := kafkaRules(v)
	if err != nil {
		return nil, err
	}
	name := "kafka-" + v.Text("topic")
	if v.Text("topic") == "" {
		name = "kafka-" + v.Text("consumerGroup") + "-topics"
	}
	metric, err := c.metric(name, "lagThreshold", float64(rules.threshold))
	if err != nil {
		return nil, err
	}
	options, err := c.kafkaOptions(v)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("setting up the client: %w", err)
	}
	p := c.probe(metric, v)
	p.limit = 2 * readLimit
	reader := &kafkaReader{admin: kadm.NewClient(client), rules: rules, previous: map[partition]int64{}}
	p.ask = reader.read
	p.free = func() error { client.Close(); return nil }
	return p, nil
}

// lagRules is how lag counts.
type lagRules struct {
	group, topic string
	// only limits the partitions that count; all if nil.
	only map[int32]bool

	threshold, activation                int64
	earliest, idle, excludePersistent    bool
	zeroOnInvalid, limitToLag, spreading bool
}

// kafkaRules reads the rules and the limits between them.
func kafkaRules(v schema.Values) (lagRules, error) {
	r := lagRules{
		group: v.Text("consumerGroup"), topic: v.Text("topic"),
		threshold: v.Int("lagThreshold"), activation: v.Int("activationLagThreshold"),
		earliest: v.Text("offsetResetPolicy") == "earliest", idle: v.Bool("allowIdleConsumers"),
		excludePersistent: v.Bool("excludePersistentLag"), zeroOnInvalid: v.Bool("scaleToZeroOnInvalidOffset"),
		limitToLag: v.Bool("limitToPartitionsWithLag"), spreading: v.Bool("ensureEvenDistributionOfPartitions"),
	}
	switch {
	case r.threshold <= 0:
		return r, errors.New(`"lagThreshold" must be above 0`)
	case r.activation < 0:
		return r, errors.New(`"activationLagThreshold" must be 0 or more`)
	case r.idle && r.limitToLag:
		return r, errors.New(`"allowIdleConsumers" and "limitToPartitionsWithLag" exclude each other; leave one out`)
	case r.limitToLag && r.spreading:
		return r, errors.New(`"limitToPartitionsWithLag" and "ensureEvenDistributionOfPartitions" exclude each other; leave one out`)
	case r.topic == "" && (r.limitToLag || r.spreading || !v.Bool("fullMetadata")):
		return r, errors.New(`"topic" is missing: limitToPartitionsWithLag, ensureEvenDistributionOfPartitions and fullMetadata "false" need one`)
	case v.Text("version") != "" && !kafkaVersion.MatchString(v.Text("version")):
		return r, fmt.Errorf(`"version" is %q; write it as 3.7.0`, v.Text("version"))
	}
	var err error
	r.only, err = schema.Numbers(v.Text("partitionLimitation"))
	if err != nil {
		return r, fmt.Errorf(`"partitionLimitation" is %q; write it as 1,2,10-12`, v.Text("partitionLimitation"))
	}
	if r.topic == "" {
		r.only = nil
	}
	return r, nil
}

func (c Config) kafkaOptions(v schema.Values) ([]kgo.Opt, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(v.List("bootstrapServers")...), kgo.ClientID("escale"),
		kgo.DialTimeout(readLimit), kgo.RetryTimeout(readLimit), kgo.RequestRetries(2),
		kgo.RequestTimeoutOverhead(readLimit), kgo.ConnIdleTimeout(5 * time.Minute),
		kgo.MetadataMinAge(time.Second), kgo.MaxVersions(kversion.Stable()),
	}
	var secure *tls.Config
	if v.Text("tls") == "enable" {
		if (v.Text("cert") == "") != (v.Text("key") == "") {
			return nil, errors.New(`"cert" and "key" go together; give both or none`)
		}
		trust := certificates{v.Text("cert"), v.Text("key"), v.Text("keyPassword"), v.Text("ca"), v.Bool("unsafeSsl")}
		var err error
		if secure, err = trust.config(); err != nil {
			return nil, err
		}
	}
	options = append(options, kgo.Dialer(c.Dialer.over(secure)))
	mechanism, err := c.kafkaLogin(v)
	if err != nil || mechanism == nil {
		return options, err
	}
	return append(options, kgo.SASL(mechanism)), nil
}

// require names the first of several parameters that is missing.
func require(v schema.Values, why string, names ...string) error {
	for _, name := range names {
		if v.Text(name) == "" {
			return fmt.Errorf("%q is missing: %s needs it", name, why)
		}
	}
	return nil
}

// extensions reads "a=b,c=d".
func extensions(text string) (map[string]string, error) {
	pairs := map[string]string{}
	if text == "" {
		return pairs, nil
	}
	for pair := range strings.SplitSeq(text, ",") {
		parts := strings.Split(pair, "=")
		if len(parts) != 2 {
			return nil, errors.New(`"oauthExtensions" must be pairs such as a=1,b=2`)
		}
		pairs[parts[0]] = parts[1]
	}
	return pairs, nil
}
