package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// TriggerAuthentication says where the credentials of triggers in its namespace are.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=triggerauthentications,scope=Namespaced,shortName=ta;triggerauth
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="PodIdentity",type="string",JSONPath=".spec.podIdentity.provider"
// +kubebuilder:printcolumn:name="Secret",type="string",JSONPath=".spec.secretTargetRef[*].name"
// +kubebuilder:printcolumn:name="Env",type="string",JSONPath=".spec.env[*].name"
// +kubebuilder:printcolumn:name="VaultAddress",type="string",JSONPath=".spec.hashiCorpVault.address"
// +kubebuilder:printcolumn:name="ScaledObjects",type="string",priority=1,JSONPath=".status.scaledobjects"
// +kubebuilder:printcolumn:name="ScaledJobs",type="string",priority=1,JSONPath=".status.scaledjobs"
type TriggerAuthentication struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   TriggerAuthenticationSpec   `json:"spec"`
	Status TriggerAuthenticationStatus `json:"status,omitempty"`
}

// TriggerAuthenticationList is a list of TriggerAuthentications.
//
// +kubebuilder:object:root=true
type TriggerAuthenticationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []TriggerAuthentication `json:"items"`
}

// ClusterTriggerAuthentication says where the credentials of triggers of every namespace are. Its Secrets are in the
// platform's namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=clustertriggerauthentications,scope=Cluster,shortName=cta;clustertriggerauth
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="PodIdentity",type="string",JSONPath=".spec.podIdentity.provider"
// +kubebuilder:printcolumn:name="Secret",type="string",JSONPath=".spec.secretTargetRef[*].name"
// +kubebuilder:printcolumn:name="Env",type="string",JSONPath=".spec.env[*].name"
// +kubebuilder:printcolumn:name="FilePath",type="string",JSONPath=".spec.filePath"
// +kubebuilder:printcolumn:name="VaultAddress",type="string",JSONPath=".spec.hashiCorpVault.address"
// +kubebuilder:printcolumn:name="ScaledObjects",type="string",priority=1,JSONPath=".status.scaledobjects"
// +kubebuilder:printcolumn:name="ScaledJobs",type="string",priority=1,JSONPath=".status.scaledjobs"
type ClusterTriggerAuthentication struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   TriggerAuthenticationSpec   `json:"spec"`
	Status TriggerAuthenticationStatus `json:"status,omitempty"`
}

// ClusterTriggerAuthenticationList is a list of ClusterTriggerAuthentications.
//
// +kubebuilder:object:root=true
type ClusterTriggerAuthenticationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []ClusterTriggerAuthentication `json:"items"`
}

// TriggerAuthenticationSpec lists the places of credentials. Where several give the same parameter, the last of this
// order counts: podIdentity, env, configMapTargetRef, secretTargetRef, then the others.
type TriggerAuthenticationSpec struct {
	// PodIdentity is the cloud's identity of a pod.
	// +optional
	PodIdentity *AuthPodIdentity `json:"podIdentity,omitempty"`
	// SecretTargetRef are keys of Secrets.
	// +optional
	SecretTargetRef []AuthTargetRef `json:"secretTargetRef,omitempty"`
	// ConfigMapTargetRef are keys of ConfigMaps.
	// +optional
	ConfigMapTargetRef []AuthTargetRef `json:"configMapTargetRef,omitempty"`
	// Env are environment variables of the workload's container.
	// +optional
	Env []AuthEnvironment `json:"env,omitempty"`
	// FilePath is a file of the platform with a JSON object of strings.
	// +optional
	FilePath string `json:"filePath,omitempty"`
	// +optional
	HashiCorpVault *HashiCorpVault `json:"hashiCorpVault,omitempty"`
	// +optional
	AzureKeyVault *AzureKeyVault `json:"azureKeyVault,omitempty"`
	// +optional
	GCPSecretManager *GCPSecretManager `json:"gcpSecretManager,omitempty"`
	// +optional
	AwsSecretManager *AwsSecretManager `json:"awsSecretManager,omitempty"`
	// BoundServiceAccountToken are tokens of service accounts, made when needed.
	// +optional
	BoundServiceAccountToken []BoundServiceAccountToken `json:"boundServiceAccountToken,omitempty"`
	// +optional
	OAuth2 *OAuth2 `json:"oauth2,omitempty"`
	// +optional
	AzureServicePrincipal *AzureServicePrincipal `json:"azureServicePrincipal,omitempty"`
}

// TriggerAuthenticationStatus lists who uses the object.
type TriggerAuthenticationStatus struct {
	// ScaledObjects, separated by commas.
	// +optional
	ScaledObjectNamesStr string `json:"scaledobjects,omitempty"`
	// ScaledJobs, separated by commas.
	// +optional
	ScaledJobNamesStr string `json:"scaledjobs,omitempty"`
}

// AuthPodIdentity chooses a cloud's identity.
type AuthPodIdentity struct {
	// +kubebuilder:validation:Enum=azure-workload;gcp;aws;aws-eks;none
	Provider string `json:"provider"`
	// +optional
	IdentityID *string `json:"identityId,omitempty"`
	// +optional
	IdentityTenantID *string `json:"identityTenantId,omitempty"`
	// +optional
	IdentityAuthorityHost *string `json:"identityAuthorityHost,omitempty"`
	// +optional
	RoleArn *string `json:"roleArn,omitempty"`
	// +optional
	ExternalID *string `json:"externalID,omitempty"`
	// +kubebuilder:validation:Enum=keda;workload
	// +optional
	IdentityOwner *string `json:"identityOwner,omitempty"`
}

// AuthTargetRef is a key of a Secret or ConfigMap for a parameter.
type AuthTargetRef struct {
	Parameter string `json:"parameter"`
	Name      string `json:"name"`
	Key       string `json:"key"`
}

// AuthEnvironment is an environment variable of the workload for a parameter.
type AuthEnvironment struct {
	Parameter string `json:"parameter"`
	Name      string `json:"name"`
	// ContainerName is the container that has it. Default: the one of the ScaledObject.
	// +optional
	ContainerName string `json:"containerName,omitempty"`
}

// HashiCorpVault is a Vault with secrets.
type HashiCorpVault struct {
	Address string `json:"address"`
	// +kubebuilder:validation:Enum=token;kubernetes
	Authentication string `json:"authentication"`
	// +kubebuilder:validation:MinItems=1
	Secrets []VaultSecret `json:"secrets"`
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// +optional
	Credential *Credential `json:"credential,omitempty"`
	// +optional
	Role string `json:"role,omitempty"`
	// +optional
	Mount string `json:"mount,omitempty"`
}

// Credential is how to enter a Vault.
type Credential struct {
	// +optional
	Token string `json:"token,omitempty"`
	// +optional
	ServiceAccount string `json:"serviceAccount,omitempty"`
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
}

// VaultSecret is a value of a Vault for a parameter.
type VaultSecret struct {
	Parameter string `json:"parameter"`
	Path      string `json:"path"`
	Key       string `json:"key"`
	// +kubebuilder:validation:Enum="";secretV2;secret;pki
	Type    string       `json:"type,omitempty"`
	PkiData VaultPkiData `json:"pkiData,omitempty"`
}

// VaultPkiData is the certificate to ask a Vault for.
type VaultPkiData struct {
	CommonName string `json:"commonName,omitempty"`
	AltNames   string `json:"altNames,omitempty"`
	IPSans     string `json:"ipSans,omitempty"`
	URISans    string `json:"uriSans,omitempty"`
	OtherSans  string `json:"otherSans,omitempty"`
	TTL        string `json:"ttl,omitempty"`
	Format     string `json:"format,omitempty"`
}

// AzureKeyVault is a Key Vault with secrets.
type AzureKeyVault struct {
	VaultURI string `json:"vaultUri"`
	// +kubebuilder:validation:MinItems=1
	Secrets []AzureKeyVaultSecret `json:"secrets"`
	// +optional
	Credentials *AzureKeyVaultCredentials `json:"credentials"`
	// +optional
	PodIdentity *AuthPodIdentity `json:"podIdentity"`
	// +optional
	Cloud *AzureKeyVaultCloudInfo `json:"cloud"`
}

// AzureKeyVaultCredentials is how to enter a Key Vault.
type AzureKeyVaultCredentials struct {
	ClientID     string       `json:"clientId"`
	TenantID     string       `json:"tenantId"`
	ClientSecret *SecretValue `json:"clientSecret"`
}

// SecretValue is a value that a Secret holds.
type SecretValue struct {
	ValueFrom ValueFromSecret `json:"valueFrom"`
}

// ValueFromSecret is the place of a value.
type ValueFromSecret struct {
	SecretKeyRef SecretKeyRef `json:"secretKeyRef"`
}

// SecretKeyRef is a key of a Secret.
type SecretKeyRef struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// AzureKeyVaultSecret is a value of a Key Vault for a parameter.
type AzureKeyVaultSecret struct {
	Parameter string `json:"parameter"`
	Name      string `json:"name"`
	// +optional
	Version string `json:"version,omitempty"`
}

// AzureKeyVaultCloudInfo is the cloud a Key Vault is in.
type AzureKeyVaultCloudInfo struct {
	Type string `json:"type"`
	// +optional
	KeyVaultResourceURL string `json:"keyVaultResourceURL"`
	// +optional
	ActiveDirectoryEndpoint string `json:"activeDirectoryEndpoint"`
}

// GCPSecretManager is a Secret Manager of Google's cloud.
type GCPSecretManager struct {
	// +kubebuilder:validation:MinItems=1
	Secrets []GCPSecretManagerSecret `json:"secrets"`
	// +optional
	Credentials *GCPCredentials `json:"credentials"`
	// +optional
	PodIdentity *AuthPodIdentity `json:"podIdentity"`
}

// GCPCredentials is how to enter it.
type GCPCredentials struct {
	ClientSecret SecretValue `json:"clientSecret"`
}

// GCPSecretManagerSecret is one of its values for a parameter.
type GCPSecretManagerSecret struct {
	Parameter string `json:"parameter"`
	ID        string `json:"id"`
	// +optional
	Version string `json:"version,omitempty"`
}

// AwsSecretManager is a Secrets Manager of Amazon's cloud.
type AwsSecretManager struct {
	// +kubebuilder:validation:MinItems=1
	Secrets []AwsSecretManagerSecret `json:"secrets"`
	// +optional
	Credentials *AwsSecretManagerCredentials `json:"credentials"`
	// +optional
	PodIdentity *AuthPodIdentity `json:"podIdentity"`
	// +optional
	Region string `json:"region,omitempty"`
}

// AwsSecretManagerCredentials is how to enter it.
type AwsSecretManagerCredentials struct {
	AccessKey       *SecretValue `json:"accessKey"`
	AccessSecretKey *SecretValue `json:"accessSecretKey"`
	// +optional
	AccessToken *SecretValue `json:"accessToken,omitempty"`
}

// AwsSecretManagerSecret is one of its values for a parameter.
type AwsSecretManagerSecret struct {
	Parameter string `json:"parameter"`
	Name      string `json:"name"`
	// +optional
	VersionID string `json:"versionId,omitempty"`
	// +optional
	VersionStage string `json:"versionStage,omitempty"`
	// +optional
	SecretKey string `json:"secretKey,omitempty"`
}

// BoundServiceAccountToken is a token for a parameter.
type BoundServiceAccountToken struct {
	Parameter          string `json:"parameter"`
	ServiceAccountName string `json:"serviceAccountName"`
}

// OAuth2 is a server that gives tokens.
type OAuth2 struct {
	// +kubebuilder:validation:Enum=clientCredentials
	// +kubebuilder:default=clientCredentials
	Type     string `json:"type"`
	ClientID string `json:"clientId"`
	// +optional
	ClientSecret SecretValue `json:"clientSecret,omitempty"`
	TokenURL     string      `json:"tokenUrl"`
	// +optional
	Scopes []string `json:"scopes,omitempty"`
	// +optional
	TokenURLParams map[string]string `json:"tokenUrlParams,omitempty"`
}

// AzureServicePrincipal is an identity for Azure's triggers.
type AzureServicePrincipal struct {
	TenantID string `json:"tenantId"`
	ClientID string `json:"clientId"`
	// Cloud. Default: AzurePublicCloud.
	// +optional
	Cloud string `json:"cloud,omitempty"`
	// ActiveDirectoryEndpoint is needed when the cloud is Private.
	// +optional
	ActiveDirectoryEndpoint string `json:"activeDirectoryEndpoint,omitempty"`
	// +optional
	ClientSecret *SecretValue `json:"clientSecret,omitempty"`
	// +optional
	ClientCertificate *SecretValue `json:"clientCertificate,omitempty"`
	// +optional
	ClientCertificatePassword *SecretValue `json:"clientCertificatePassword,omitempty"`
}
