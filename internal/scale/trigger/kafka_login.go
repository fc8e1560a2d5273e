package trigger

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/sasl"
	kaws "github.com/twmb/franz-go/pkg/sasl/aws"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// kafkaLogin is how the client proves who it is; nil for not at all.
func (c Config) kafkaLogin(v schema.Values) (sasl.Mechanism, error) {
	user, password := v.Text("username"), v.Text("password")
	switch v.Text("sasl") {
	case "plaintext":
		return plain.Auth{User: user, Pass: password}.AsMechanism(), require(v, "sasl plaintext", "username", "password")
	case "scram_sha256":
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism(), require(v, "sasl scram_sha256", "username", "password")
	case "scram_sha512":
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism(), require(v, "sasl scram_sha512", "username", "password")
	case "oauthbearer":
		if v.Text("saslTokenProvider") == "aws_msk_iam" {
			return c.kafkaAWS(v)
		}
		return kafkaOAuth(v)
	case "gssapi":
		return nil, errors.New(`"sasl" gssapi (Kerberos) is not supported; use scram_sha512, plaintext or oauthbearer`)
	}
	return nil, nil
}

// kafkaOAuth gets tokens by the client credentials flow.
func kafkaOAuth(v schema.Values) (sasl.Mechanism, error) {
	if err := require(v, "sasl oauthbearer", "username", "password", "oauthTokenEndpointUri"); err != nil {
		return nil, err
	}
	pairs, err := extensions(v.Text("oauthExtensions"))
	if err != nil {
		return nil, err
	}
	config := clientcredentials.Config{
		ClientID: v.Text("username"), ClientSecret: v.Text("password"), TokenURL: v.Text("oauthTokenEndpointUri"),
		Scopes: v.List("scopes"),
	}
	tokens := config.TokenSource(context.Background())
	return oauth.Oauth(func(context.Context) (oauth.Auth, error) {
		token, err := tokens.Token()
		if err != nil {
			return oauth.Auth{}, err
		}
		return oauth.Auth{Token: token.AccessToken, Extensions: pairs}, nil
	}), nil
}

// kafkaAWS logs in to Amazon MSK with the role that AWS gives.
func (c Config) kafkaAWS(v schema.Values) (sasl.Mechanism, error) {
	if v.Text("tls") != "enable" {
		return nil, errors.New(`"tls" must be enable with saslTokenProvider aws_msk_iam`)
	}
	if err := require(v, "saslTokenProvider aws_msk_iam", "awsRegion"); err != nil {
		return nil, err
	}
	login, err := c.aws(v.Text("awsRegion"))
	if err != nil {
		return nil, err
	}
	return kaws.ManagedStreamingIAM(func(ctx context.Context) (kaws.Auth, error) {
		config, err := login.config(ctx)
		if err != nil {
			return kaws.Auth{}, err
		}
		keys, err := config.Credentials.Retrieve(ctx)
		return kaws.Auth{AccessKey: keys.AccessKeyID, SecretKey: keys.SecretAccessKey, SessionToken: keys.SessionToken}, err
	}), nil
}
