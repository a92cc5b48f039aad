FROM registry.test/base
RUN <<EOF
#!/bin/sh -e
echo shebang $0 > /a
EOF
RUN <<-script
	#!/bin/busybox sh
	echho() { echo "$@"; }; echho b > /b
	script
