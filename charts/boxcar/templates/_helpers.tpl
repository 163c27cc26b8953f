{{/* Labels of all objects. Arguments: the component's name and the root. */}}
{{- define "boxcar.labels" -}}
{{ include "boxcar.selector" .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* Labels that select pods. They do not contain the release name, because a namespace has one Boxcar only. */}}
{{- define "boxcar.selector" -}}
app.kubernetes.io/name: boxcar
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* One of Boxcar's container images. Arguments: its name and the root. */}}
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

{{/* What the Pod Security level `restricted` requires of a pod and of a container. */}}
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

{{/* Address of the bucket's server: bucket.endpoint, or the chart's own MinIO. */}}
{{- define "boxcar.endpoint" -}}
{{- .Values.bucket.endpoint | default (ternary "http://boxcar-minio:9000" "" .Values.minio.enabled) }}
{{- end }}

{{/* The bucket's name, from the URI of the folder of runs. */}}
{{- define "boxcar.bucket" -}}
{{ regexReplaceAll "^[a-z0-9]+://([^/]+)/.*$" .Values.bucket.runs "${1}" }}
{{- end }}

{{/* Environment variables that are not secret, without the folder of runs. */}}
{{- define "boxcar.environment" -}}
{{- with include "boxcar.endpoint" . }}
BOXCAR_S3_ENDPOINT: {{ . | quote }}
{{- end }}
{{- range $name, $value := .Values.bucket.environment }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* How a container accesses the bucket. Arguments: a Secret's name or "", and the root. */}}
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

{{/* /work is the only folder that Boxcar's images write to: home, temporary files, and cache. */}}
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

{{/* The table `cluster:` of Boxcar's configuration. */}}
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

{{/*
The schedule as YAML, from the values or from a file for `boxcar schedule`. The launcher runs the file's pipeline as a command.
Fields that only Kubeflow uses (experiment, service_account) are ignored.
*/}}
{{- define "boxcar.schedule" -}}
{{- $values := .Values.schedule }}
{{- $schedule := pick $values "enabled" "cron" "timeZone" "suspend" "data" "model" "models" "settings" }}
{{- $schedule = merge (dict "name" "boxcar-schedule" "runs" "$(BOXCAR_RUNS)" "webhook" $values.webhookExistingSecret) $schedule }}
{{- with $values.file }}
{{- $file := fromYaml . }}
{{- with $file.Error }}{{ fail (printf "schedule.file cannot be read: %s" .) }}{{ end }}
{{- range $name := keys $file | sortAlpha }}
{{- if not (has $name (list "name" "pipeline" "parameters" "cron" "timezone" "timeZone" "enabled" "experiment" "service_account")) }}
{{- fail (printf "schedule.file: there is no field %s." $name) }}
{{- end }}
{{- end }}
{{- range list "name" "pipeline" "cron" }}
{{- if not (get $file .) }}{{ fail (printf "schedule.file: %s is missing." .) }}{{ end }}
{{- end }}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?$" $file.name) }}
{{- fail "schedule.file: write at most 52 lowercase letters, digits, and - as the name." }}
{{- end }}
{{- if not (regexMatch "^\\S+( +\\S+){4}$" (trim $file.cron)) }}
{{- fail (printf "schedule.file: cron cannot be %q: it needs five fields." $file.cron) }}
{{- end }}
{{- $names := list "data" "architecture" "image_size" "steps" "initial_checkpoint" "gpus" "bucket_secret" "webhook_secret" }}
{{- if eq $file.pipeline "retrain-if-changed" }}
{{- $names = concat $names (list "models" "model" "runs" "new_pictures" "gpu_hours") }}
{{- else if eq $file.pipeline "train-detector" }}
{{- $names = append $names "output" }}
{{- else }}
{{- fail (printf "schedule.file: without Kubeflow, only the pipelines retrain-if-changed and train-detector can be scheduled, not %v." $file.pipeline) }}
{{- end }}
{{- $settings := deepCopy $values.settings }}
{{- $retraining := get $settings "retraining" | default dict }}
{{- $parameters := $file.parameters | default dict }}
{{- range $name := keys $parameters | sortAlpha }}
{{- $value := get $parameters $name }}
{{- if eq $name "config" }}
{{- if $value }}{{ fail "schedule.file: config: write these settings under the value schedule.settings instead." }}{{ end }}
{{- else if has $name (list "gpu_type" "node_pool") }}
{{- if $value }}{{ fail (printf "schedule.file: %s: set cluster.gpu_resource and cluster.gpu_node_selector instead, which apply to every run." $name) }}{{ end }}
{{- else if not (has $name $names) }}
{{- fail (printf "schedule.file: %s has no parameter %s that can be set here." $file.pipeline $name) }}
{{- else if eq $name "bucket_secret" }}
{{- if ne $value $.Values.bucket.existingSecret }}{{ fail "schedule.file: bucket_secret: set the value bucket.existingSecret instead." }}{{ end }}
{{- else if eq $name "architecture" }}
{{- $_ := set $settings $name $value }}
{{- else if has $name (list "image_size" "steps") }}
{{- if $value }}{{ $_ := set $settings $name (int $value) }}{{ end }}
{{- else if eq $name "gpus" }}
{{- $_ := set $settings $name (int $value) }}
{{- else if eq $name "initial_checkpoint" }}
{{- if $value }}{{ $_ := set $settings "init" $value }}{{ $_ := set $retraining "start" "init" }}{{ end }}
{{- else if eq $name "new_pictures" }}
{{- if $value }}{{ $_ := set $retraining $name (int $value) }}{{ end }}
{{- else if eq $name "gpu_hours" }}
{{- if $value }}{{ $_ := set $retraining $name (float64 $value) }}{{ end }}
{{- end }}
{{- end }}
{{- if and $retraining (eq $file.pipeline "retrain-if-changed") }}{{ $_ := set $settings "retraining" $retraining }}{{ end }}
{{- range $name := $names }}
{{- if and (has $name (list "data" "models" "model" "runs" "output")) (not (get $parameters $name)) }}
{{- fail (printf "schedule.file: the parameter %s is missing." $name) }}
{{- end }}
{{- end }}
{{- $zone := $file.timezone | default $file.timeZone | default "UTC" }}
{{- $fires := ternary $file.enabled true (hasKey $file "enabled") }}
{{- $read := dict "enabled" true "name" $file.name "cron" (trim $file.cron) "timeZone" (ternary "Etc/UTC" $zone (eq $zone "UTC")) "suspend" (not $fires) }}
{{- $read = merge $read (dict "data" $parameters.data "model" ($parameters.model | default "") "models" ($parameters.models | default "")) }}
{{- $read = merge $read (dict "runs" ($parameters.runs | default $parameters.output) "settings" $settings) }}
{{- $schedule = merge $read (dict "webhook" ($parameters.webhook_secret | default $values.webhookExistingSecret)) }}
{{- end }}
{{- toYaml $schedule }}
{{- end }}
