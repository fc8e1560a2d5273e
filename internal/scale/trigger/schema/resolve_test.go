package schema

import (
	"strings"
	"testing"
	"time"
)

func TestEveryScalerIsKnown(t *testing.T) {
	parameters := 0
	for _, name := range Types() {
		fields, ok := Fields(name)
		if !ok {
			t.Fatalf("type %q is listed and has no fields", name)
		}
		for _, f := range fields {
			parameters += len(f.Names)
		}
	}
	if len(Types()) != 79 || parameters != 1149 {
		t.Errorf("%d scalers with %d parameters, want the 79 with 1149 that KEDA publishes", len(Types()), parameters)
	}
}

func TestResolve(t *testing.T) {
	cases := []struct {
		reason, kind        string
		metadata, env, auth map[string]string
		// wrong is part of the error; empty if the metadata is right.
		wrong string
	}{
		{"all that is required", "cron", pairs("timezone=UTC", "start=0 8 * * *", "end=0 9 * * *", "desiredReplicas=3"), nil, nil, ""},
		{"a number that is none", "cron", pairs("timezone=UTC", "start=0 8 * * *", "end=0 9 * * *", "desiredReplicas=many"), nil, nil, `"desiredReplicas" is "many"; it must be a whole number`},
		{"a required field is missing", "cron", pairs("timezone=UTC", "end=0 9 * * *", "desiredReplicas=3"), nil, nil, `"start" is missing: set it in the trigger's metadata`},
		{"blanks are no value", "cron", pairs("timezone=UTC", "start= ", "end=0 9 * * *", "desiredReplicas=3"), nil, nil, `"start" is missing`},
		{"a value outside the allowed", "kafka", pairs("bootstrapServers=a:1", "consumerGroup=g", "offsetResetPolicy=newest"), nil, nil, "must be one of latest, earliest"},
		{"from the environment", "kafka", pairs("bootstrapServersFromEnv=SERVERS", "consumerGroup=g"), pairs("SERVERS=a:1,b:2"), nil, ""},
		{"the environment lacks the name", "kafka", pairs("bootstrapServersFromEnv=SERVERS", "consumerGroup=g"), nil, nil, `"bootstrapServers" is missing`},
		{"removed", "cpu", pairs("value=50", "type=Utilization"), nil, nil, `"type" is no longer read`},
		{"two that exclude each other", "prometheus", pairs("serverAddress=http://p", "query=up", "threshold=1", "authModes=basic,bearer"), nil, nil, "only one of"},
		{"a fraction where whole numbers are", "redis", pairs("address=a:1", "listName=l", "listLength=1.5"), nil, nil, "whole number"},
		{"a name of old", "redis", pairs("addresses=a:1", "listName=l"), nil, nil, ""},
		{"an unknown type", "rabbit", nil, nil, nil, "no trigger type"},
	}
	for _, c := range cases {
		t.Run(c.reason, func(t *testing.T) {
			_, err := Resolve(c.kind, Input{Metadata: c.metadata, Env: c.env, Auth: c.auth})
			if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("error %v, want one with %q", err, c.wrong)
			}
		})
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	_, err := Resolve("kafka", Input{Metadata: pairs("bootstrapServers=a:1", "consumerGroup=g"), Auth: pairs("tls=hunter2", "kerberosDisableFAST=hunter3")})
	if err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("error %v, want one without the secret", err)
	}
}

func TestValues(t *testing.T) {
	v, err := Resolve("prometheus", Input{Metadata: pairs("serverAddress=http://p", "query=up", "threshold=1.5", "timeout=1500", "customHeaders=a=b,c=d", "extra=1")})
	if err != nil {
		t.Fatal(err)
	}
	if v.Float("threshold") != 1.5 || v.Duration("timeout") != 1500*time.Millisecond || !v.Bool("ignoreNullValues") || v.Map("customHeaders")["c"] != "d" {
		t.Errorf("values %v", v.values)
	}
	if len(v.Unknown) != 1 || v.Unknown[0] != "extra" {
		t.Errorf("unknown %v, want extra", v.Unknown)
	}
	if v.Given("ignoreNullValues") || !v.Given("query") {
		t.Error("a default counts as given, or a given value does not")
	}
}

func TestRanges(t *testing.T) {
	f := Field{Names: []string{"p"}, Kind: Ints, Range: "-"}
	got, err := f.parseInts("1-3, 7")
	if err != nil || len(got) != 4 || got[3] != 7 {
		t.Errorf("%v %v, want 1 2 3 7", got, err)
	}
	if _, err := f.parseInts("0-999999999"); err == nil {
		t.Error("a range without bound was accepted")
	}
}

func FuzzResolve(f *testing.F) {
	f.Add("rabbitmq", "host", "amqp://u:p@h/%2f")
	f.Add("apache-kafka", "partitionLimitation", "1-5,7")
	f.Fuzz(func(_ *testing.T, kind, name, value string) {
		v, err := Resolve(kind, Input{Metadata: map[string]string{name: value}, Auth: map[string]string{name: value}})
		if err == nil {
			v.List(name)
			v.Map(name)
			v.Float(name)
		}
	})
}

func pairs(list ...string) map[string]string {
	m := map[string]string{}
	for _, pair := range list {
		key, value, _ := strings.Cut(pair, "=")
		m[key] = value
	}
	return m
}
