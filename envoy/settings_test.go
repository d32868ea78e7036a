package envoy_test

import (
	"encoding/json"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
)

// decoded is the file as Envoy's own types; an unknown field fails the test.
func decoded(t *testing.T) *bootstrapv3.Bootstrap {
	t.Helper()
	var tree any
	if err := yaml.Unmarshal(bootstrap(t), &tree); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	b := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(text, b); err != nil {
		t.Fatal(err)
	}
	return b
}

func unpack(t *testing.T, from *anypb.Any, to proto.Message) {
	t.Helper()
	if err := from.UnmarshalTo(to); err != nil {
		t.Fatal(err)
	}
}

func manager(t *testing.T) *hcmv3.HttpConnectionManager {
	t.Helper()
	listeners := decoded(t).GetStaticResources().GetListeners()
	if len(listeners) != 1 || listeners[0].GetName() != "http" {
		t.Fatalf("want one listener named http, got %d", len(listeners))
	}
	m := &hcmv3.HttpConnectionManager{}
	unpack(t, listeners[0].GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), m)
	return m
}

func extAuthz(t *testing.T) *authzv3.ExtAuthz {
	t.Helper()
	filters := manager(t).GetHttpFilters()
	if len(filters) != 2 || filters[0].GetName() != "envoy.filters.http.ext_authz" {
		t.Fatal("ext_authz is not the first of two filters")
	}
	a := &authzv3.ExtAuthz{}
	unpack(t, filters[0].GetTypedConfig(), a)
	return a
}

func TestEnvoyAcceptsTheFile(t *testing.T) {
	if err := envoytest.Validate(t.Context(), envoytest.FromEnvironment(), bootstrap(t)); err != nil {
		t.Error(err)
	}
}

func TestManagerIsHardened(t *testing.T) {
	m := manager(t)
	for name, ok := range map[string]bool{
		"normalize_path":                m.GetNormalizePath().GetValue(),
		"merge_slashes":                 m.GetMergeSlashes(),
		"escaped slashes refused":       m.GetPathWithEscapedSlashesAction() == hcmv3.HttpConnectionManager_REJECT_REQUEST,
		"underscores refused":           m.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() == corev3.HttpProtocolOptions_REJECT_REQUEST,
		"use_remote_address":            m.GetUseRemoteAddress().GetValue(),
		"no trusted hops":               m.GetXffNumTrustedHops() == 0,
		"client certificates sanitized": m.GetForwardClientCertDetails() == hcmv3.HttpConnectionManager_SANITIZE,
		"request_timeout":               m.GetRequestTimeout().AsDuration() > 0,
		"request_headers_timeout":       m.GetRequestHeadersTimeout().AsDuration() > 0,
		"stream_idle_timeout":           m.GetStreamIdleTimeout().AsDuration() > 0,
		"max_request_headers_kb":        m.GetMaxRequestHeadersKb().GetValue() > 0,
		"max_concurrent_streams":        m.GetHttp2ProtocolOptions().GetMaxConcurrentStreams().GetValue() > 0,
		"codec":                         m.GetCodecType() == hcmv3.HttpConnectionManager_AUTO,
	} {
		if !ok {
			t.Errorf("%s: not so", name)
		}
	}
}

func TestAuthorizationFailsClosed(t *testing.T) {
	a := extAuthz(t)
	for name, ok := range map[string]bool{
		"failure_mode_allow is false":     !a.GetFailureModeAllow(),
		"no failure_mode_allow_header":    !a.GetFailureModeAllowHeaderAdd(),
		"never disabled":                  a.GetFilterEnabled() == nil && a.GetFilterEnabledMetadata() == nil && !a.GetShadowMode(),
		"status_on_error":                 a.GetStatusOnError().GetCode() == 503,
		"API v3":                          a.GetTransportApiVersion() == corev3.ApiVersion_V3,
		"raw headers":                     a.GetEncodeRawHeaders(),
		"every header is sent":            a.GetAllowedHeaders() == nil && a.GetDisallowedHeaders() == nil,
		"bodies as bytes":                 a.GetWithRequestBody().GetPackAsBytes(),
		"cut bodies reach Kasbah":         a.GetWithRequestBody().GetAllowPartialMessage(),
		"max_request_bytes":               a.GetWithRequestBody().GetMaxRequestBytes() == 1<<20,
		"peer certificate":                a.GetIncludePeerCertificate(),
		"route stays":                     !a.GetClearRouteCache() && a.GetClearRouteCacheHeaders() == nil,
		"encoded query values pass":       !a.GetValidateMutations(),
		"mutations of :headers are fatal": a.GetDecoderHeaderMutationRules().GetDisallowSystem().GetValue() && a.GetDecoderHeaderMutationRules().GetDisallowIsError().GetValue(),
	} {
		if !ok {
			t.Errorf("%s: not so", name)
		}
	}
	service := a.GetGrpcService()
	if got, want := service.GetRetryPolicy().GetRetryBackOff().GetMaxInterval().AsDuration(), service.GetTimeout().AsDuration(); got < want || want == 0 {
		t.Errorf("max_interval, which is the time of one try, is %v; the timeout is %v", got, want)
	}
}

// A limit below max_request_bytes would turn Kasbah's answer about a long body into Envoy's own 413.
func TestBuffersHoldABody(t *testing.T) {
	body := extAuthz(t).GetWithRequestBody().GetMaxRequestBytes()
	listener := decoded(t).GetStaticResources().GetListeners()[0]
	for name, got := range map[string]uint32{
		"per_connection_buffer_limit_bytes":    listener.GetPerConnectionBufferLimitBytes().GetValue(),
		"http2 initial_stream_window_size":     manager(t).GetHttp2ProtocolOptions().GetInitialStreamWindowSize().GetValue(),
		"http2 initial_connection_window_size": manager(t).GetHttp2ProtocolOptions().GetInitialConnectionWindowSize().GetValue(),
	} {
		if got < body {
			t.Errorf("%s is %d, below max_request_bytes %d", name, got, body)
		}
	}
}

func TestAdminStaysOnLoopback(t *testing.T) {
	if got := decoded(t).GetAdmin().GetAddress().GetSocketAddress().GetAddress(); got != "127.0.0.1" {
		t.Errorf("the admin interface listens at %s", got)
	}
}

func TestKasbahIsHealthChecked(t *testing.T) {
	for _, cluster := range decoded(t).GetStaticResources().GetClusters() {
		if cluster.GetName() != "kasbah" {
			continue
		}
		checks := cluster.GetHealthChecks()
		if len(checks) != 1 || checks[0].GetGrpcHealthCheck().GetServiceName() != "envoy.service.auth.v3.Authorization" {
			t.Errorf("its health checks are %v", checks)
		}
		if got := cluster.GetCircuitBreakers().GetThresholds()[0].GetMaxRetries().GetValue(); got < 1024 {
			t.Errorf("only %d retries at once: a replica that goes away under load loses requests", got)
		}
		return
	}
	t.Error("there is no cluster kasbah")
}
