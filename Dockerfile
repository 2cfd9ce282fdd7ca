# Airflow with this project, as docker-compose.yaml runs it.
FROM apache/airflow:3.3.2-python3.12
COPY requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --requirement /tmp/requirements.txt
# Deliveries are sealed by it; Debian's ca-certificates bring it.
RUN openssl version | grep -q '^OpenSSL [3-9]'
COPY --chown=airflow:0 dags /opt/airflow/dags
COPY --chown=airflow:0 plugins /opt/airflow/plugins
COPY --chown=airflow:0 expectations /opt/airflow/expectations
# The anonymiser's hot loops, so that no task compiles them.
RUN PYTHONPATH=/opt/airflow/plugins python -m governance.compiling
