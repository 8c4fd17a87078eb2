{{- /* Always with the chart's name in it: Prometheus' job is named after the Service, and the rules look for jobs with that word. */ -}}
{{- define "segone.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" (.Release.Name | trunc 45 | trimSuffix "-") .Chart.Name }}{{ end }}
{{- end }}

{{- define "segone.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "segone.labels" -}}
{{ include "segone.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "segone.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* One process is asked by the kubelet; of several each must answer, which a kubelet can't ask for. */ -}}
{{- define "segone.probe" -}}
{{- if eq (int .root.Values.processes) 1 -}}
httpGet: {path: {{ .path }}, port: metrics-0}
{{- else -}}
exec: {command: [python, -I, /opt/segone/probe.py, {{ .path }}]}
{{- end }}
{{ toYaml .times }}
{{- end }}

{{- define "segone.container" -}}
image: {{ include "segone.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
env:
  - {name: SEGONE__LOG__KIND, value: kafka}
  - {name: SEGONE__STATE__DIR, value: /var/lib/segone/state}
  - {name: SEGONE__METRICS__HOST, value: 0.0.0.0}  # the network policy guards it
  - {name: SEGONE__METRICS__PORT, value: {{ .Values.metrics.port | quote }}}
  - {name: SEGONE__LOGS__FORMAT, value: json}
  - {name: SEGONE__LOGS__LEVEL, value: {{ .Values.logs.level }}}
  - {name: SEGONE_PROCESSES, value: {{ .Values.processes | quote }}}
volumeMounts:
  - {name: state, mountPath: /var/lib/segone}
  - {name: config, mountPath: /etc/segone, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- if .Values.secretFiles }}
  - {name: secrets, mountPath: /run/secrets/segone, readOnly: true}
  {{- end }}
{{- end }}
