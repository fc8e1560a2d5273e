package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// configuration is one trigger to judge.
type configuration struct {
	ID             int
	Type           string
	Metadata, Auth map[string]string
	MetricType     string
	// change says how it differs from what should be right.
	change string
}

// nobody is an address where nothing listens.
const nobody = "127.0.0.1:1"

// The credentials of nobody.
const (
	azureStorage = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;EndpointSuffix=127.0.0.1"
	googleUser   = `{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"t"}`
	azureCosmos  = "AccountEndpoint=http://" + nobody + "/;AccountKey=a2V5;"
)

// right holds what a scaler needs besides its required parameters, and values where "x" or "1" will not do.
var right = map[string]map[string]string{
	"arangodb":                {"endpoints": "http://" + nobody, "queryValue": "5", "username": "u", "password": "p"},
	"artemis-queue":           {"managementEndpoint": nobody, "queueName": "q", "brokerName": "b", "brokerAddress": "a"},
	"aws-cloudwatch":          {"namespace": "n", "metricName": "m", "dimensionName": "d", "dimensionValue": "v", "identityOwner": "operator", "metricStat": "Average"},
	"aws-dynamodb":            {"identityOwner": "operator", "expressionAttributeNames": `{"#k":"k"}`, "expressionAttributeValues": `{":k":{"S":"v"}}`, "keyConditionExpression": "#k = :k", "targetValue": "5", "awsRegion": "eu-west-1"},
	"aws-dynamodb-streams":    {"identityOwner": "operator"},
	"aws-kinesis-stream":      {"identityOwner": "operator"},
	"aws-sqs-queue":           {"identityOwner": "operator", "queueURL": "https://sqs.eu-west-1.amazonaws.com/1/q"},
	"azure-servicebus":        {"queueName": "q", "connection": "Endpoint=sb://127.0.0.1:1/;SharedAccessKeyName=n;SharedAccessKey=a2V5"},
	"cron":                    {"start": "0 8 * * *", "end": "0 18 * * *", "timezone": "UTC", "desiredReplicas": "2"},
	"cpu":                     {"value": "60"},
	"memory":                  {"value": "60"},
	"elasticsearch":           {"addresses": "http://" + nobody, "query": "{}", "username": "u", "password": "p"},
	"etcd":                    {"endpoints": nobody},
	"external":                {"scalerAddress": nobody},
	"external-push":           {"scalerAddress": nobody},
	"gcp-pubsub":              {"subscriptionName": "orders", "GoogleApplicationCredentials": `{"project_id":"p"}`},
	"kafka":                   {"bootstrapServers": nobody, "topic": "t"},
	"apache-kafka":            {"bootstrapServers": nobody, "topic": "t"},
	"kubernetes-workload":     {"podSelector": "app=x", "value": "1"},
	"metrics-api":             {"url": "http://" + nobody, "targetValue": "5"},
	"mongodb":                 {"host": "127.0.0.1", "port": "1", "username": "u", "password": "p", "dbName": "d", "query": "{}"},
	"mysql":                   {"host": "127.0.0.1", "port": "1", "username": "u", "password": "p", "dbName": "d"},
	"mssql":                   {"host": "127.0.0.1", "port": "1", "username": "u", "password": "p", "database": "d"},
	"nats-jetstream":          {"account": "a", "natsServerMonitoringEndpoint": nobody},
	"postgresql":              {"host": "127.0.0.1", "port": "1", "userName": "u", "dbName": "d", "sslmode": "disable", "targetQueryValue": "5"},
	"prometheus":              {"serverAddress": "http://" + nobody},
	"rabbitmq":                {"host": "amqp://u:p@" + nobody + "/", "mode": "QueueLength", "value": "5"},
	"redis":                   {"address": nobody},
	"redis-cluster":           {"addresses": nobody},
	"redis-sentinel":          {"addresses": nobody, "sentinelMaster": "main"},
	"redis-streams":           {"address": nobody, "consumerGroup": "g"},
	"redis-cluster-streams":   {"addresses": nobody, "consumerGroup": "g"},
	"redis-sentinel-streams":  {"addresses": nobody, "consumerGroup": "g", "sentinelMaster": "main"},
	"solr":                    {"host": "http://" + nobody},
	"temporal":                {"endpoint": nobody},
	"cassandra":               {"clusterIPAddress": nobody, "port": "1"},
	"selenium-grid":           {"url": "http://" + nobody},
	"loki":                    {"serverAddress": "http://" + nobody},
	"influxdb":                {"serverURL": "http://" + nobody, "organizationName": "o", "authToken": "t", "thresholdValue": "5"},
	"graphite":                {"serverAddress": "http://" + nobody, "queryTime": "-10Minutes"},
	"activemq":                {"managementEndpoint": nobody, "destinationName": "d", "brokerName": "b"},
	"beanstalkd":              {"server": nobody},
	"nsq":                     {"nsqLookupdHTTPAddresses": nobody},
	"pulsar":                  {"adminURL": "http://" + nobody},
	"dynatrace":               {"host": "http://" + nobody, "metricSelector": "m"},
	"couchdb":                 {"host": "127.0.0.1", "port": "1", "dbName": "d", "query": "{}", "username": "u", "password": "p", "queryValue": "5"},
	"ibmmq":                   {"host": "http://" + nobody, "username": "u", "password": "p"},
	"github-runner":           {"owner": "o", "runnerScope": "repo", "repos": "r", "personalAccessToken": "t"},
	"solace-event-queue":      {"solaceSempBaseURL": "http://" + nobody, "messageCountTarget": "1"},
	"solace-direct-messaging": {"solaceSempBaseURL": "http://" + nobody, "queuedMessagesFactor": "3", "aggregatedClientTxMsgRateTarget": "5"},
	"openstack-swift":         {"swiftURL": "http://" + nobody, "authURL": "http://" + nobody, "userID": "u", "password": "p", "projectID": "p"},
	"azure-app-insights":      {"metricAggregationTimespan": "0:5", "targetValue": "5", "metricAggregationType": "avg", "activeDirectoryClientId": "c", "activeDirectoryClientPassword": "p"},
	"azure-blob":              {"connection": azureStorage},
	"azure-queue":             {"connection": azureStorage},
	"azure-cosmosdb":          {"connection": azureCosmos, "leaseConnection": azureCosmos},
	"azure-data-explorer":     {"endpoint": "https://127.0.0.1:1", "tenantId": "t", "clientId": "c", "clientSecret": "s"},
	"azure-eventhub":          {"connection": "Endpoint=sb://127.0.0.1:1/;SharedAccessKeyName=n;SharedAccessKey=a2V5;EntityPath=h", "storageConnection": azureStorage},
	"azure-log-analytics":     {"tenantId": "t", "clientId": "c", "clientSecret": "s"},
	"azure-monitor":           {"resourceURI": "a/b/c", "metricAggregationType": "Average", "activeDirectoryClientId": "c", "activeDirectoryClientPassword": "p"},
	"azure-pipelines":         {"organizationURL": "http://" + nobody + "/o", "personalAccessToken": "t", "poolID": "1"},
	"clickhouse":              {"host": "127.0.0.1", "port": "1", "username": "u", "password": "p", "database": "d"},
	"datadog":                 {"apiKey": "k", "appKey": "k", "query": "avg:m{*}", "queryValue": "5", "age": "120"},
	"elastic-forecast":        {"addresses": "http://" + nobody, "username": "u", "password": "p"},
	"opensearch":              {"addresses": "http://" + nobody, "query": "{}", "username": "u", "password": "p"},
	"predictkube":             {"prometheusAddress": "http://" + nobody, "apiKey": "00000000-0000-4000-8000-000000000000", "predictHorizon": "2h", "queryStep": "1m", "historyTimeWindow": "7d", "threshold": "5"},
	"solarwinds":              {"host": "http://" + nobody, "apiToken": "t", "aggregation": "AVG", "intervalS": "60"},
	"splunk":                  {"host": "http://" + nobody, "apiToken": "t"},
	"sumologic":               {"host": "http://" + nobody, "query": "_sourceCategory=x", "queryType": "metrics", "quantization": "15s", "rollup": "Avg", "timerange": "15m"},
	"gcp-cloudtasks":          {"GoogleApplicationCredentials": `{"project_id":"p"}`},
	"gcp-spanner":             {"GoogleApplicationCredentials": googleUser},
	"gcp-stackdriver":         {"GoogleApplicationCredentials": googleUser, "targetValue": "5"},
	"gcp-storage":             {"GoogleApplicationCredentials": googleUser, "targetValue": "5"},
	"openstack-metric":        {"metricsURL": "http://" + nobody, "authURL": "http://" + nobody, "aggregationMethod": "mean", "granularity": "1", "threshold": "5", "userID": "u", "password": "p"},
}

// base is a configuration that should be right.
func base(kind string) configuration {
	c := configuration{Type: kind, Metadata: map[string]string{}, Auth: map[string]string{}, change: "none"}
	fields, _ := schema.Fields(kind)
	for _, f := range fields {
		name := f.Names[0]
		value, wanted := right[kind][name]
		for _, other := range f.Names {
			if v, ok := right[kind][other]; ok {
				name, value, wanted = other, v, true
			}
		}
		if !wanted && (f.Optional || f.Default != "") {
			continue
		}
		c.set(f, name, orElse(value, filler(f)))
	}
	for name, value := range right[kind] {
		_, inMetadata := c.Metadata[name]
		_, inAuth := c.Auth[name]
		switch {
		case inMetadata || inAuth:
		case name == "GoogleApplicationCredentials" || kind == "openstack-metric": // which its schema does not have
			c.Auth[name] = value
		default:
			c.Metadata[name] = value
		}
	}
	if kind == "cpu" || kind == "memory" {
		c.MetricType = "Utilization"
	}
	return c
}

// set puts a value where it may be: in the metadata if it may.
func (c configuration) set(f schema.Field, name, value string) {
	if strings.Contains(f.From, "m") {
		c.Metadata[name] = value
	} else {
		c.Auth[name] = value
	}
}

func orElse(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func filler(f schema.Field) string {
	if len(f.Allowed) > 0 {
		return f.Allowed[0]
	}
	switch f.Kind {
	case schema.Int, schema.Uint, schema.Float, schema.Ints:
		return "1"
	case schema.Bool:
		return "true"
	case schema.Duration:
		return "1s"
	case schema.Map, schema.Query:
		return "a=b"
	}
	return "x"
}

// cases are a scaler's right configuration, and the same with one thing wrong at a time: each required parameter left
// out, and each parameter with a value that its kind or its allowed values do not have.
func cases() []configuration {
	var all []configuration
	for _, kind := range schema.Types() {
		good := base(kind)
		all = append(all, good)
		fields, _ := schema.Fields(kind)
		for _, f := range fields {
			all = append(all, good.without(f)...)
			if wrong := nonsense(f); wrong != "" {
				c := good.copied(fmt.Sprintf("%s=%s", f.Names[0], wrong))
				c.set(f, f.Names[0], wrong)
				all = append(all, c)
			}
		}
		utilization := good.copied("metricType")
		utilization.MetricType = map[bool]string{true: "Value", false: "Utilization"}[kind == "cpu" || kind == "memory"]
		all = append(all, utilization)
	}
	for i := range all {
		all[i].ID = i
	}
	return all
}

func (c configuration) copied(change string) configuration {
	c.Metadata, c.Auth, c.change = maps.Clone(c.Metadata), maps.Clone(c.Auth), change
	return c
}

func (c configuration) without(f schema.Field) []configuration {
	if f.Optional || f.Default != "" {
		return nil
	}
	less := c.copied("without " + f.Names[0])
	for _, name := range f.Names {
		delete(less.Metadata, name)
		delete(less.Auth, name)
	}
	return []configuration{less}
}

// nonsense is a value that a parameter cannot have; empty if any will do.
func nonsense(f schema.Field) string {
	switch {
	case f.Removed != "":
		return "1"
	case len(f.Allowed) > 0:
		return "nonsense"
	case slices.Contains([]schema.Kind{schema.Int, schema.Uint, schema.Float, schema.Ints}, f.Kind):
		return "many"
	case f.Kind == schema.Bool:
		return "perhaps"
	case f.Kind == schema.Duration:
		return "soon"
	case f.Kind == schema.Map:
		return "nopair"
	}
	return ""
}
