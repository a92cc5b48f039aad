FROM registry.test/base
ENV f=a/b/c.tar.gz
ENV a=${f#*/} b=${f##*/} c=${f%.*} d=${f%%.*} e=${f/\//-} g=${f//\//-} h=\$f i=${f:+x} j="$f" k='$f'
LABEL l=${f##*.} "$f"=key
USER ${nobody:-app}
EXPOSE ${p:-80}/tcp
VOLUME /v$f
STOPSIGNAL ${s:-SIGINT}
