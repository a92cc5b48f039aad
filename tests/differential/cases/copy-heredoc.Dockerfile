FROM registry.test/base
ARG v=val
COPY <<EOF /a
v is $v \$v
EOF
COPY <<'EOF' /b
v is $v
EOF
COPY <<-EOF <<two /c/
		tabs
	EOF
second
two
COPY --chmod=755 --chown=3:4 <<run.sh /d/
#!/bin/sh
run.sh
