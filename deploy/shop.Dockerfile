# An application's image on top of deploy/Dockerfile; `shop/` and `requirements.txt` are yours:
#
#   docker build -f deploy/shop.Dockerfile -t registry.example.com/shop:1.0.0 .
FROM reliq:0.1.0
USER root
COPY requirements.txt /tmp/
RUN python -m pip --python /opt/reliq/bin/python install --no-cache-dir -r /tmp/requirements.txt
COPY shop/ /app/shop/
USER 10001:10001
