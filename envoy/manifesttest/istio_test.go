package manifesttest_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	securityv1beta1 "istio.io/api/security/v1beta1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	kyaml "sigs.k8s.io/yaml"
)

func istio(name string) string { return filepath.Join("../istio", name) }

// ofIstio decodes a document of a Kubernetes kind.
func ofIstio[T any](t *testing.T, name, kind string) *T {
	t.Helper()
	into := new(T)
	strict(t, document(t, istio(name), kind), into)
	return into
}

func provider(t *testing.T) *meshv1alpha1.MeshConfig_ExtensionProvider {
	t.Helper()
	var values struct {
		MeshConfig json.RawMessage `json:"meshConfig"`
	}
	text, err := kyaml.YAMLToJSONStrict(documents(t, istio("mesh-config.yaml"))[""])
	if err != nil {
		t.Fatal(err)
	}
	strict(t, text, &values)
	mesh := &meshv1alpha1.MeshConfig{}
	strictProto(t, values.MeshConfig, mesh)
	if mesh.GetPathNormalization().GetNormalization() != meshv1alpha1.MeshConfig_ProxyPathNormalization_DECODE_AND_MERGE_SLASHES {
		t.Errorf("paths are normalised as %v", mesh.GetPathNormalization())
	}
	if len(mesh.GetExtensionProviders()) != 1 {
		t.Fatalf("%d extension providers", len(mesh.GetExtensionProviders()))
	}
	return mesh.GetExtensionProviders()[0]
}

func TestExtensionProviderFailsClosed(t *testing.T) {
	grpc := provider(t).GetEnvoyExtAuthzGrpc()
	service := ofIstio[corev1.Service](t, "service.yaml", "Service")
	if want := service.Name + "." + service.Namespace + ".svc.cluster.local"; grpc.GetService() != want {
		t.Errorf("the provider asks %q, the Service is %q", grpc.GetService(), want)
	}
	if grpc.GetPort() != uint32(service.Spec.Ports[0].Port) {
		t.Errorf("the provider asks port %d", grpc.GetPort())
	}
	if grpc.GetFailOpen() || grpc.GetClearRouteCache() || grpc.GetStatusOnError() != "503" {
		t.Errorf("failOpen %v, clearRouteCache %v, statusOnError %q", grpc.GetFailOpen(), grpc.GetClearRouteCache(), grpc.GetStatusOnError())
	}
	if timeout := grpc.GetTimeout().AsDuration(); timeout <= 0 || timeout > 5*time.Second {
		t.Errorf("timeout %v", timeout)
	}
	if body := grpc.GetIncludeRequestBodyInCheck(); body.GetMaxRequestBytes() != 1<<20 || !body.GetAllowPartialMessage() || !body.GetPackAsBytes() {
		t.Errorf("bodies: %v", body)
	}
}

func TestAuthorizationPolicyAsksAboutEverything(t *testing.T) {
	spec := &securityv1beta1.AuthorizationPolicy{}
	istioSpec(t, istio("authorization-policy.yaml"), "AuthorizationPolicy", "security.istio.io/v1", spec)
	if spec.GetAction() != securityv1beta1.AuthorizationPolicy_CUSTOM || spec.GetProvider().GetName() != provider(t).GetName() {
		t.Errorf("action %v, provider %q", spec.GetAction(), spec.GetProvider().GetName())
	}
	if len(spec.GetRules()) != 1 || len(spec.GetRules()[0].GetTo())+len(spec.GetRules()[0].GetFrom())+len(spec.GetRules()[0].GetWhen()) != 0 {
		t.Errorf("its rules leave requests out: %v", spec.GetRules())
	}
}

func TestPeerAuthenticationIsStrict(t *testing.T) {
	spec := &securityv1beta1.PeerAuthentication{}
	istioSpec(t, istio("peer-authentication.yaml"), "PeerAuthentication", "security.istio.io/v1", spec)
	if spec.GetMtls().GetMode() != securityv1beta1.PeerAuthentication_MutualTLS_STRICT {
		t.Errorf("mode %v", spec.GetMtls().GetMode())
	}
	for port := range spec.GetPortLevelMtls() {
		if port != 9192 {
			t.Errorf("port %d is excepted", port)
		}
	}
}

func deployment(t *testing.T) (*appsv1.Deployment, *corev1.Container) {
	t.Helper()
	d := ofIstio[appsv1.Deployment](t, "deployment.yaml", "Deployment")
	if len(d.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("%d containers", len(d.Spec.Template.Spec.Containers))
	}
	return d, &d.Spec.Template.Spec.Containers[0]
}

func TestDeploymentIsConfined(t *testing.T) {
	d, c := deployment(t)
	pod := d.Spec.Template.Spec
	s := c.SecurityContext
	for name, ok := range map[string]bool{
		"two replicas":           *d.Spec.Replicas >= 2,
		"no replica less":        d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() == 0,
		"non-root pod":           *pod.SecurityContext.RunAsNonRoot && *pod.SecurityContext.RunAsUser != 0,
		"non-root":               *s.RunAsNonRoot,
		"read-only root":         *s.ReadOnlyRootFilesystem,
		"no escalation":          !*s.AllowPrivilegeEscalation && !*s.Privileged,
		"no capabilities":        slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) && len(s.Capabilities.Add) == 0,
		"seccomp":                pod.SecurityContext.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault,
		"no token":               !*pod.AutomountServiceAccountToken,
		"no host":                !pod.HostNetwork && !pod.HostPID && !pod.HostIPC,
		"spread":                 len(pod.TopologySpreadConstraints) > 0,
		"image":                  c.Image == "ghcr.io/kasbah-authz/kasbah:latest",
		"read-only config":       len(c.VolumeMounts) == 1 && c.VolumeMounts[0].ReadOnly && c.VolumeMounts[0].SubPath == "",
		"labels":                 d.Spec.Template.Labels["app.kubernetes.io/name"] == d.Spec.Selector.MatchLabels["app.kubernetes.io/name"],
		"memory limit":           !c.Resources.Limits.Memory().IsZero(),
		"requests":               !c.Resources.Requests.Cpu().IsZero() && !c.Resources.Requests.Memory().IsZero(),
		"readiness":              c.ReadinessProbe.HTTPGet.Path == "/readyz" && c.ReadinessProbe.HTTPGet.Port.StrVal == "http-admin",
		"liveness":               c.LivenessProbe.HTTPGet.Path == "/livez" && c.LivenessProbe.HTTPGet.Port.StrVal == "http-admin",
		"startup":                c.StartupProbe.HTTPGet.Path == "/livez",
		"arguments":              strings.Join(c.Args, " ") == "serve --config /etc/kasbah/kasbah.yaml --listen 0.0.0.0:9191 --admin 0.0.0.0:9192",
		"the folder of --config": c.VolumeMounts[0].MountPath == "/etc/kasbah",
	} {
		if !ok {
			t.Errorf("%s: not so", name)
		}
	}
}

func TestMemoryIsCollectedBelowTheLimit(t *testing.T) {
	_, c := deployment(t)
	for _, variable := range c.Env {
		if variable.Name != "GOMEMLIMIT" {
			continue
		}
		soft := resource.MustParse(strings.TrimSuffix(variable.Value, "B")) // Go's MiB is Kubernetes' Mi
		if limit := c.Resources.Limits.Memory(); soft.Value() > limit.Value()*95/100 || soft.Value() < limit.Value()/2 {
			t.Errorf("GOMEMLIMIT %s beside a limit of %s", variable.Value, limit)
		}
		return
	}
	t.Error("there is no GOMEMLIMIT")
}

// The pod lives as long as Kasbah's configuration lets it drain and finish.
func TestGracePeriodCoversTheDrain(t *testing.T) {
	d, _ := deployment(t)
	var config struct {
		Server struct {
			Drain           string `json:"drain"`
			ShutdownTimeout string `json:"shutdown_timeout"`
		} `json:"server"`
	}
	configMap := ofIstio[corev1.ConfigMap](t, "config-map.yaml", "ConfigMap")
	if err := kyaml.Unmarshal([]byte(configMap.Data["kasbah.yaml"]), &config); err != nil {
		t.Fatal(err)
	}
	var total time.Duration
	for _, text := range []string{config.Server.Drain, config.Server.ShutdownTimeout} {
		duration, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		total += duration
	}
	grace := time.Duration(*d.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
	if grace < total+5*time.Second {
		t.Errorf("the pod has %v, and Kasbah takes up to %v", grace, total)
	}
	for _, file := range []string{"model.conf", "policy.csv"} {
		if !strings.Contains(configMap.Data["kasbah.yaml"], file) || configMap.Data[file] == "" {
			t.Errorf("the configuration does not name %s, or it is missing", file)
		}
	}
	if got := d.Spec.Template.Spec.Volumes[0].ConfigMap.Name; got != configMap.Name {
		t.Errorf("the pod mounts the ConfigMap %q", got)
	}
}

func TestServiceReachesThePods(t *testing.T) {
	d, c := deployment(t)
	s := ofIstio[corev1.Service](t, "service.yaml", "Service")
	if s.Spec.Selector["app.kubernetes.io/name"] != d.Spec.Template.Labels["app.kubernetes.io/name"] {
		t.Error("the Service selects other pods")
	}
	if len(s.Spec.Ports) != 1 || *s.Spec.Ports[0].AppProtocol != "grpc" || s.Spec.Ports[0].Name != "grpc" {
		t.Fatalf("ports %v", s.Spec.Ports)
	}
	for _, port := range c.Ports {
		if port.Name == s.Spec.Ports[0].TargetPort.StrVal && port.ContainerPort == 9191 {
			return
		}
	}
	t.Error("the Service's target port is not that of the container")
}

func TestDisruptionLeavesAReplica(t *testing.T) {
	b := ofIstio[policyv1.PodDisruptionBudget](t, "pod-disruption-budget.yaml", "PodDisruptionBudget")
	d, _ := deployment(t)
	if b.Spec.MinAvailable.IntValue() < 1 || b.Spec.MinAvailable.IntValue() >= int(*d.Spec.Replicas) {
		t.Errorf("minAvailable %v of %d", b.Spec.MinAvailable, *d.Spec.Replicas)
	}
	if b.Spec.Selector.MatchLabels["app.kubernetes.io/name"] != d.Spec.Template.Labels["app.kubernetes.io/name"] {
		t.Error("it is about other pods")
	}
}

func TestNetworkIsClosed(t *testing.T) {
	n := ofIstio[networkingv1.NetworkPolicy](t, "network-policy.yaml", "NetworkPolicy")
	if len(n.Spec.PolicyTypes) != 2 {
		t.Errorf("policyTypes %v", n.Spec.PolicyTypes)
	}
	for _, rule := range n.Spec.Ingress {
		if len(rule.From) == 0 || len(rule.Ports) == 0 {
			t.Error("a rule lets everybody in, or to every port")
		}
	}
	for _, rule := range n.Spec.Egress {
		if len(rule.To) == 0 || len(rule.Ports) == 0 {
			t.Error("a rule lets everything out, or to every port")
		}
		for _, to := range rule.To {
			if to.IPBlock != nil && !slices.Contains(to.IPBlock.Except, "169.254.0.0/16") {
				t.Error("the cloud's metadata service can be reached")
			}
		}
	}
}

func TestServiceAccountHasNoToken(t *testing.T) {
	a := ofIstio[corev1.ServiceAccount](t, "service-account.yaml", "ServiceAccount")
	d, _ := deployment(t)
	if *a.AutomountServiceAccountToken || a.Name != d.Spec.Template.Spec.ServiceAccountName {
		t.Errorf("service account %s", a.Name)
	}
}

// Every resource of Kasbah's own namespace is applied, and nothing that is not there.
func TestKustomizationIsComplete(t *testing.T) {
	k := ofIstio[types.Kustomization](t, "kustomization.yaml", "Kustomization")
	paths, err := filepath.Glob(istio("*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, path := range paths {
		switch name := filepath.Base(path); name {
		case "kustomization.yaml", "mesh-config.yaml", "authorization-policy.yaml":
		default:
			want = append(want, name)
		}
	}
	got := slices.Sorted(slices.Values(k.Resources))
	if !slices.Equal(got, want) {
		t.Errorf("resources %v, want %v", got, want)
	}
	namespace := ofIstio[corev1.Namespace](t, "namespace.yaml", "Namespace")
	d, _ := deployment(t)
	if namespace.Name != d.Namespace || namespace.Labels["istio-injection"] != "enabled" {
		t.Errorf("namespace %s", namespace.Name)
	}
}
