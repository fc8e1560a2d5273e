package trigger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// newSQS counts the messages of a queue of Amazon SQS.
func newSQS(c Config) (Source, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	name, err := sqsName(v.Text("queueURL"))
	if err != nil {
		return nil, err
	}
	metric, err := c.metric("aws-sqs-"+name, "queueLength", float64(v.Int("queueLength")))
	if err != nil {
		return nil, err
	}
	login, err := c.aws(v.Text("awsRegion"))
	if err != nil {
		return nil, err
	}
	counts := []types.QueueAttributeName{types.QueueAttributeNameApproximateNumberOfMessages}
	if v.Bool("scaleOnInFlight") {
		counts = append(counts, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible)
	}
	if v.Bool("scaleOnDelayed") {
		counts = append(counts, types.QueueAttributeNameApproximateNumberOfMessagesDelayed)
	}
	p := c.probe(metric, v)
	client := sync.OnceValues(func() (*sqs.Client, error) { return login.sqs(v.Text("awsEndpoint")) })
	p.ask = func(ctx context.Context) (sample, error) {
		queue, err := client()
		if err != nil {
			return sample{}, err
		}
		length, err := countSQS(ctx, queue, v.Text("queueURL"), counts)
		return sample{value: length, active: length > float64(v.Int("activationQueueLength"))}, err
	}
	return p, nil
}

// sqsName is the queue's name within its address; a name alone is accepted too.
func sqsName(address string) (string, error) {
	parsed, err := url.ParseRequestURI(address)
	if err != nil {
		return address, nil
	}
	parts := strings.Split(parsed.Path, "/")
	if len(parts) != 3 || parts[2] == "" {
		return "", fmt.Errorf(`"queueURL" is %q; write it as https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE`, parsed.Redacted())
	}
	return parts[2], nil
}

func countSQS(ctx context.Context, client *sqs.Client, queue string, counts []types.QueueAttributeName) (float64, error) {
	got, err := client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &queue, AttributeNames: counts})
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, name := range counts {
		n, err := strconv.ParseInt(got.Attributes[string(name)], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("the answer has no number %s", name)
		}
		sum += float64(n)
	}
	return sum, nil
}

// awsLogin is how a source proves who it is to AWS.
type awsLogin struct {
	region, role       string
	key, secret, token string
}

// aws settles the login as KEDA does: a pod identity, then the TriggerAuthentication, then the metadata; identityOwner
// "operator" leaves it to the machine that Escale runs on.
func (c Config) aws(region string) (awsLogin, error) {
	login := awsLogin{region: region}
	if c.Identity.Provider == "aws" {
		login.role = cmp.Or(c.Identity.RoleARN, c.Auth["awsRoleArn"])
		return login, nil
	}
	owner := c.Metadata["identityOwner"]
	if owner != "" && owner != "pod" {
		return login, nil
	}
	switch key := cmp.Or(c.Auth["awsAccessKeyID"], c.Auth["awsAccessKeyId"]); {
	case c.Auth["awsRoleArn"] != "":
		login.role = c.Auth["awsRoleArn"]
		return login, nil
	case key != "":
		login.key, login.secret, login.token = key, c.Auth["awsSecretAccessKey"], c.Auth["awsSessionToken"]
	default:
		login.key = cmp.Or(c.Metadata["awsAccessKeyID"], c.Env[c.Metadata["awsAccessKeyIDFromEnv"]])
		login.secret = c.Env[c.Metadata["awsSecretAccessKeyFromEnv"]]
	}
	if login.key == "" {
		return login, errors.New(`"awsAccessKeyID" is missing: set it in the TriggerAuthentication, or use a pod identity or identityOwner "operator"`)
	}
	if login.secret == "" {
		return login, errors.New(`"awsSecretAccessKey" is missing: set it beside awsAccessKeyID`)
	}
	return login, nil
}

// config makes the SDK's settings; it reads files of the machine at most.
func (l awsLogin) config(ctx context.Context) (aws.Config, error) {
	options := []func(*awsconfig.LoadOptions) error{awsconfig.WithRegion(l.region), awsconfig.WithRetryMaxAttempts(1)}
	if l.key != "" {
		options = append(options, awsconfig.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(l.key, l.secret, l.token)))
	}
	config, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err == nil && l.role != "" {
		config.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(config), l.role))
	}
	return config, err
}

func (l awsLogin) sqs(endpoint string) (*sqs.Client, error) {
	config, err := l.config(context.Background())
	if err != nil {
		return nil, err
	}
	return sqs.NewFromConfig(config, func(o *sqs.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	}), nil
}
