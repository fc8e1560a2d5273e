package trigger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus/admin"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// busEntity is the queue, or the subscription of a topic, that is counted.
type busEntity struct {
	queue, topic, subscription string
	// match finds several; nil for one by name.
	match     *regexp.Regexp
	operation string
}

// newServiceBus counts the active messages of Azure Service Bus.
func newServiceBus(c Config) (Source, error) { return newServiceBusWith(c, policy.ClientOptions{}) }

// newServiceBusWith lets a test reach its own server.
func newServiceBusWith(c Config, options policy.ClientOptions) (Source, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	entity, err := busEntityOf(v)
	if err != nil {
		return nil, err
	}
	name := cmp.Or(entity.queue, entity.topic)
	if entity.match != nil {
		name = entity.kind() + "-regex"
	}
	metric, err := c.metric("azure-servicebus-"+name, "messageCount", float64(v.Int("messageCount")))
	if err != nil {
		return nil, err
	}
	connect, err := c.busClient(v, &admin.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, err
	}
	p := c.probe(metric, v)
	p.limit = 2 * readLimit
	client := sync.OnceValues(connect)
	p.ask = func(ctx context.Context) (sample, error) {
		bus, err := client()
		if err != nil {
			return sample{}, err
		}
		count, err := entity.count(ctx, bus)
		return sample{value: count, active: count > float64(v.Int("activationMessageCount"))}, err
	}
	return p, nil
}

func (e busEntity) kind() string {
	if e.queue != "" {
		return "queue"
	}
	return "topic"
}

func busEntityOf(v schema.Values) (busEntity, error) {
	e := busEntity{queue: v.Text("queueName"), topic: v.Text("topicName"), subscription: v.Text("subscriptionName"), operation: v.Text("operation")}
	switch {
	case e.queue != "" && e.subscription != "":
		return e, errors.New(`"subscriptionName" belongs to a topic; leave it out beside "queueName"`)
	case e.queue != "" && e.topic != "":
		return e, errors.New(`set one of "queueName" and "topicName"`)
	case e.topic != "" && e.subscription == "":
		return e, errors.New(`"subscriptionName" is missing: a topic is counted by subscription`)
	case e.queue == "" && e.topic == "":
		return e, errors.New(`set "queueName", or "topicName" and "subscriptionName"`)
	}
	if !v.Bool("useRegex") {
		return e, nil
	}
	match, err := regexp.Compile("^(?:" + cmp.Or(e.queue, e.subscription) + ")$")
	if err != nil {
		return e, fmt.Errorf("the name is no regular expression: %w", err)
	}
	e.match = match
	return e, nil
}

// busClient says how to connect: with a connection string, or as an Azure workload.
func (c Config) busClient(v schema.Values, options *admin.ClientOptions) (func() (*admin.Client, error), error) {
	switch c.Identity.Provider {
	case "", "none":
		if v.Text("connection") == "" {
			return nil, errors.New(`"connection" is missing: set it in the TriggerAuthentication or the container's environment`)
		}
		return func() (*admin.Client, error) {
			return admin.NewClientFromConnectionString(v.Text("connection"), options)
		}, nil
	case "azure-workload":
	default:
		return nil, fmt.Errorf("the pod identity %q is not for Azure; use azure-workload", c.Identity.Provider)
	}
	if v.Text("namespace") == "" {
		return nil, errors.New(`"namespace" is missing: a pod identity needs it`)
	}
	suffix, err := c.azureSuffix()
	if err != nil {
		return nil, err
	}
	return func() (*admin.Client, error) {
		credential, err := c.azureCredential()
		if err != nil {
			return nil, err
		}
		return admin.NewClient(v.Text("namespace")+"."+suffix, credential, options)
	}, nil
}

// azureSuffix is the end of Service Bus' names in the cloud that the metadata names.
func (c Config) azureSuffix() (string, error) {
	switch c.Metadata["cloud"] {
	case "", "AzurePublicCloud":
		return "servicebus.windows.net", nil
	case "AzureUSGovernmentCloud":
		return "servicebus.usgovcloudapi.net", nil
	case "AzureChinaCloud":
		return "servicebus.chinacloudapi.cn", nil
	case "Private":
		if c.Metadata["endpointSuffix"] == "" {
			return "", errors.New(`"endpointSuffix" is missing: cloud Private needs it`)
		}
		return c.Metadata["endpointSuffix"], nil
	}
	return "", fmt.Errorf(`"cloud" is %q; it must be AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud or Private`, c.Metadata["cloud"])
}

// azureCredential is the workload identity of the machine that Escale runs on, under the names of the pod identity.
func (c Config) azureCredential() (azcore.TokenCredential, error) {
	options := &azidentity.WorkloadIdentityCredentialOptions{ClientID: c.Identity.ID, TenantID: c.Identity.TenantID}
	if credential, err := azidentity.NewWorkloadIdentityCredential(options); err == nil {
		return credential, nil
	}
	return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{TenantID: c.Identity.TenantID})
}

func (e busEntity) count(ctx context.Context, bus *admin.Client) (float64, error) {
	switch {
	case e.match != nil && e.queue != "":
		return e.countQueues(ctx, bus)
	case e.match != nil:
		return e.countSubscriptions(ctx, bus)
	case e.queue != "":
		got, err := bus.GetQueueRuntimeProperties(ctx, e.queue, nil)
		if err != nil {
			return 0, err
		}
		if got == nil {
			return 0, fmt.Errorf("queue %q does not exist", e.queue)
		}
		return float64(got.ActiveMessageCount), nil
	}
	got, err := bus.GetSubscriptionRuntimeProperties(ctx, e.topic, e.subscription, nil)
	if err != nil {
		return 0, err
	}
	if got == nil {
		return 0, fmt.Errorf("subscription %q of topic %q does not exist", e.subscription, e.topic)
	}
	return float64(got.ActiveMessageCount), nil
}

func (e busEntity) countQueues(ctx context.Context, bus *admin.Client) (float64, error) {
	var counts []int32
	for pages := bus.NewListQueuesRuntimePropertiesPager(nil); pages.More(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, err
		}
		for _, queue := range page.QueueRuntimeProperties {
			if e.match.MatchString(queue.QueueName) {
				counts = append(counts, queue.ActiveMessageCount)
			}
		}
	}
	return combineCounts(counts, e.operation), nil
}

func (e busEntity) countSubscriptions(ctx context.Context, bus *admin.Client) (float64, error) {
	var counts []int32
	for pages := bus.NewListSubscriptionsRuntimePropertiesPager(e.topic, nil); pages.More(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, err
		}
		for _, subscription := range page.SubscriptionRuntimeProperties {
			if e.match.MatchString(subscription.SubscriptionName) {
				counts = append(counts, subscription.ActiveMessageCount)
			}
		}
	}
	return combineCounts(counts, e.operation), nil
}

// combineCounts is the sum, the whole average or the largest.
func combineCounts(counts []int32, operation string) float64 {
	var sum, most int64
	for _, n := range counts {
		sum, most = sum+int64(n), max(most, int64(n))
	}
	switch {
	case operation == "max":
		return float64(most)
	case operation == "avg" && len(counts) > 0:
		return float64(sum / int64(len(counts)))
	}
	return float64(sum)
}
