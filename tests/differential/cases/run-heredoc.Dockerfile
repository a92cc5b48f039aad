FROM registry.test/base
RUN <<EOF
echo a > /a
echo $HOME > /home
EOF
RUN <<EOF sh -e
echo b > /b
EOF
RUN <<-'E1' cat > /c
	text $x
	E1
