{{/* Labels of everything. Argument: a component's name and the root. */}}
{{- define "boxcar.labels" -}}
{{ include "boxcar.selector" .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* What pods are found by. Names do not carry the release's: a namespace holds Boxcar once. */}}
{{- define "boxcar.selector" -}}
app.kubernetes.io/name: boxcar
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* An image of ours. Argument: its name and the root. */}}
{{- define "boxcar.image" -}}
{{ .root.Values.image.repository }}/{{ .name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "boxcar.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What Pod Security `restricted` asks for, of a pod and of a container. */}}
{{- define "boxcar.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "boxcar.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The bucket's server: the one that was named, or the chart's own MinIO. */}}
{{- define "boxcar.endpoint" -}}
{{- .Values.bucket.endpoint | default (ternary "http://boxcar-minio:9000" "" .Values.minio.enabled) }}
{{- end }}

{{/* The bucket's name, out of the folder of runs. */}}
{{- define "boxcar.bucket" -}}
{{ regexReplaceAll "^[a-z0-9]+://([^/]+)/.*$" .Values.bucket.runs "${1}" }}
{{- end }}

{{/* Variables that are no secrets, beside the folder of runs. */}}
{{- define "boxcar.environment" -}}
{{- with include "boxcar.endpoint" . }}
BOXCAR_S3_ENDPOINT: {{ . | quote }}
{{- end }}
{{- range $name, $value := .Values.bucket.environment }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* How a container gets at the bucket. Arguments: a Secret's name or "", and the root. */}}
{{- define "boxcar.bucketEnvironment" -}}
envFrom:
  - configMapRef:
      name: boxcar-environment
  {{- with .secret }}
  - secretRef:
      name: {{ . }}
  {{- end }}
{{- end }}

{{- define "boxcar.gcsKeyVariable" -}}
{{- if .Values.bucket.gcsKeyExistingSecret }}
- name: GOOGLE_APPLICATION_CREDENTIALS
  value: /var/run/secrets/boxcar/key.json
{{- end }}
{{- end }}

{{/* The one folder that our images write to is /work: their home, temporary folder and cache. */}}
{{- define "boxcar.bucketMounts" -}}
- name: work
  mountPath: /work
{{- if .Values.bucket.gcsKeyExistingSecret }}
- name: gcs-key
  mountPath: /var/run/secrets/boxcar
  readOnly: true
{{- end }}
{{- end }}

{{- define "boxcar.bucketVolumes" -}}
- name: work
  emptyDir:
    sizeLimit: 1Gi
{{- with .Values.bucket.gcsKeyExistingSecret }}
- name: gcs-key
  secret:
    secretName: {{ . }}
    items:
      - key: key.json
        path: key.json
{{- end }}
{{- end }}

{{/* The part `cluster:` of Boxcar's configuration. */}}
{{- define "boxcar.cluster" -}}
cluster:
  service_account: boxcar-trainer
  image_repository: {{ .Values.image.repository }}
  image_tag: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
  image_pull_policy: {{ .Values.image.pullPolicy }}
  image_pull_secrets: {{ .Values.image.pullSecrets | toJson }}
  {{- with include "boxcar.environment" . }}
  environment:
    {{- . | trim | nindent 4 }}
  {{- end }}
  credentials_secret: {{ .Values.bucket.existingSecret | default "null" }}
  gcs_key_secret: {{ .Values.bucket.gcsKeyExistingSecret | default "null" }}
  {{- range $name, $value := .Values.cluster }}
  {{ $name }}: {{ $value | toJson }}
  {{- end }}
{{- end }}

{{/* The port of the bucket's server. */}}
{{- define "boxcar.bucketPort" -}}
{{- $url := urlParse (.Values.bucket.endpoint | default "https://bucket") }}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary 80 443 (eq $url.scheme "http")) }}
{{- end }}
