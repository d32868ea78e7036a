package manifesttest_test

import (
	"path/filepath"
	"testing"
	"time"

	egv1alpha1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

func ofGateway[T any](t *testing.T, name, kind string) *T {
	t.Helper()
	into := new(T)
	strict(t, document(t, filepath.Join("../gateway", name), kind), into)
	return into
}

func TestSecurityPolicyFailsClosed(t *testing.T) {
	p := ofGateway[egv1alpha1.SecurityPolicy](t, "security-policy.yaml", "SecurityPolicy")
	a := p.Spec.ExtAuth
	if p.APIVersion != "gateway.envoyproxy.io/v1alpha1" || a == nil || a.GRPC == nil || a.HTTP != nil {
		t.Fatalf("apiVersion %s, extAuth %v", p.APIVersion, a)
	}
	for name, ok := range map[string]bool{
		"failOpen is false":    !*a.FailOpen,
		"503 without answer":   *a.StatusOnError == 503,
		"the route stays":      !*a.RecomputeRoute,
		"every header is sent": a.HeadersToExtAuth == nil,
		"body":                 a.BodyToExtAuth.MaxRequestBytes == 1<<20,
	} {
		if !ok {
			t.Errorf("%s: not so", name)
		}
	}
	timeout, err := time.ParseDuration(string(*a.Timeout))
	if err != nil || timeout <= 0 || timeout > 5*time.Second {
		t.Errorf("timeout %v, %v", timeout, err)
	}
	retry := a.GRPC.BackendSettings.Retry
	try, err := time.ParseDuration(string(*retry.PerRetry.BackOff.MaxInterval))
	if err != nil || try < timeout {
		t.Errorf("maxInterval, the time of one try, is %v; the timeout is %v", try, timeout)
	}
	triggers := map[egv1alpha1.TriggerEnum]bool{
		egv1alpha1.ConnectFailure: true, egv1alpha1.RefusedStream: true, egv1alpha1.Reset: true, egv1alpha1.Unavailable: true,
	}
	if len(retry.RetryOn.Triggers) != len(triggers) {
		t.Errorf("triggers %v", retry.RetryOn.Triggers)
	}
	for _, trigger := range retry.RetryOn.Triggers {
		if !triggers[trigger] {
			t.Errorf("trigger %q", trigger)
		}
	}
	active := a.GRPC.BackendSettings.HealthCheck.Active
	if active.Type != egv1alpha1.ActiveHealthCheckerTypeGRPC || *active.GRPC.Service != "envoy.service.auth.v3.Authorization" {
		t.Errorf("health check %v", active)
	}
}

// The policy holds for the Gateway that is there, names the Service that is there, and may name it.
func TestReferencesLead(t *testing.T) {
	policy := ofGateway[egv1alpha1.SecurityPolicy](t, "security-policy.yaml", "SecurityPolicy")
	traffic := ofGateway[egv1alpha1.ClientTrafficPolicy](t, "client-traffic-policy.yaml", "ClientTrafficPolicy")
	gateway := ofGateway[gwv1.Gateway](t, "gateway.yaml", "Gateway")
	route := ofGateway[gwv1.HTTPRoute](t, "gateway.yaml", "HTTPRoute")
	grant := ofGateway[gwv1beta1.ReferenceGrant](t, "reference-grant.yaml", "ReferenceGrant")
	service := ofIstio[corev1.Service](t, "service.yaml", "Service")
	for name, target := range map[string]egv1alpha1.PolicyTargetReferences{
		"SecurityPolicy": policy.Spec.PolicyTargetReferences, "ClientTrafficPolicy": traffic.Spec.PolicyTargetReferences,
	} {
		if len(target.TargetRefs) != 1 || string(target.TargetRefs[0].Name) != gateway.Name || target.TargetRefs[0].Kind != "Gateway" {
			t.Errorf("%s targets %v", name, target.TargetRefs)
		}
	}
	if string(route.Spec.ParentRefs[0].Name) != gateway.Name || policy.Namespace != gateway.Namespace || traffic.Namespace != gateway.Namespace {
		t.Error("the route or a policy belongs to another Gateway")
	}
	backend := policy.Spec.ExtAuth.GRPC.BackendRefs[0]
	if string(backend.Name) != service.Name || string(*backend.Namespace) != service.Namespace || int32(*backend.Port) != service.Spec.Ports[0].Port {
		t.Errorf("the policy asks %v", backend)
	}
	from, to := grant.Spec.From[0], grant.Spec.To[0]
	if grant.Namespace != service.Namespace || string(from.Namespace) != policy.Namespace || from.Kind != "SecurityPolicy" ||
		string(from.Group) != egv1alpha1.GroupName || to.Kind != "Service" || string(*to.Name) != service.Name {
		t.Errorf("the grant is from %v to %v", from, to)
	}
}

func TestClientTrafficIsHardened(t *testing.T) {
	p := ofGateway[egv1alpha1.ClientTrafficPolicy](t, "client-traffic-policy.yaml", "ClientTrafficPolicy")
	if *p.Spec.Path.EscapedSlashesAction != egv1alpha1.RejectRequestAction || *p.Spec.Path.DisableMergeSlashes {
		t.Error("ambiguous paths are let through")
	}
	if *p.Spec.Headers.WithUnderscoresAction != egv1alpha1.WithUnderscoresActionRejectRequest {
		t.Error("headers with underscores are let through")
	}
	if *p.Spec.Headers.XForwardedClientCert.Mode != egv1alpha1.XFCCForwardModeSanitize {
		t.Error("a client may say which certificate it has")
	}
	body := int64(ofGateway[egv1alpha1.SecurityPolicy](t, "security-policy.yaml", "SecurityPolicy").Spec.ExtAuth.BodyToExtAuth.MaxRequestBytes)
	if p.Spec.Connection.BufferLimit.Value() < body || p.Spec.HTTP2.InitialStreamWindowSize.Value() < body {
		t.Error("the buffers hold no whole body")
	}
}
